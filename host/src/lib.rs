//! wcodec.
