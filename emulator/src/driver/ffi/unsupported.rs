//! Entry points for what the emulator does not have. They exist because loaders look names up before they know whether they
//! will use them, and because "not supported" is an answer that callers know how to take.

use super::entries;
use crate::driver::status::Status;

/// Functions that take whatever they are given and decline: a C function may be called with arguments that it ignores.
macro_rules! decline {
    ($($name:ident)*) => { entries! { $(fn $name() { Err(Status::NOT_SUPPORTED) })* } };
}

decline! {
    cuMemAllocManaged cuMemPrefetchAsync cuMemPrefetchAsync_v2 cuMemAdvise cuMemAdvise_v2 cuStreamAttachMemAsync
    cuMemPoolCreate cuMemPoolDestroy cuMemAllocPitch_v2 cuMemcpyPeer cuMemcpy2D_v2 cuMemcpy2DAsync_v2 cuMemcpy3D_v2
    cuMemcpy3DAsync_v2 cuMemsetD2D8_v2 cuMemsetD2D16_v2 cuMemsetD2D32_v2
    cuModuleLoadFatBinary cuLinkCreate_v2 cuLinkAddData_v2 cuLinkAddFile_v2 cuLinkComplete cuLinkDestroy
    cuLibraryLoadData cuLibraryLoadFromFile cuLibraryUnload cuLibraryGetKernel cuLibraryGetModule cuKernelGetFunction
    cuLaunchCooperativeKernel cuOccupancyMaxActiveClusters cuOccupancyMaxPotentialClusterSize
    cuStreamBeginCapture_v2 cuStreamEndCapture cuStreamGetCaptureInfo_v2 cuThreadExchangeStreamCaptureMode
    cuStreamWaitValue32_v2 cuStreamWriteValue32_v2 cuStreamWaitValue64_v2 cuStreamWriteValue64_v2
    cuGraphCreate cuGraphDestroy cuGraphClone cuGraphInstantiateWithFlags cuGraphExecDestroy cuGraphLaunch cuGraphUpload
    cuIpcGetEventHandle cuIpcOpenEventHandle cuIpcGetMemHandle cuIpcOpenMemHandle_v2 cuIpcCloseMemHandle
    cuImportExternalMemory cuExternalMemoryGetMappedBuffer cuDestroyExternalMemory
    cuMemAddressReserve cuMemAddressFree cuMemCreate cuMemRelease cuMemMap cuMemUnmap cuMemSetAccess
    cuMemGetAllocationGranularity cuArrayCreate_v2 cuArrayDestroy cuTexObjectCreate cuTexObjectDestroy
}
