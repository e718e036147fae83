//! The examples are in the directories beside this file; the models that they run are those of `wcodec-eval`.
