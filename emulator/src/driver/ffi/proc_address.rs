//! Entry points by name.

use std::collections::HashMap;
use std::ffi::c_int;
use std::sync::LazyLock;

use super::entries;
use super::pointer::{Out, Text};
use crate::driver::status::{Checked, Status};

static ENTRIES: LazyLock<HashMap<&'static str, usize>> = LazyLock::new(|| {
    use super::{
        context, control, copy, device, event, fill, launch, memory, module, occupancy, pinned, pool, stream, unsupported,
    };
    let tables = [
        context::table,
        control::table,
        copy::table,
        device::table,
        event::table,
        fill::table,
        launch::table,
        memory::table,
        module::table,
        occupancy::table,
        pinned::table,
        pool::table,
        stream::table,
        unsupported::table,
        table,
    ];
    tables.iter().flat_map(|table| table()).collect()
});

/// `CUdriverProcAddressQueryResult`.
const FOUND: c_int = 0;
const NO_SUCH_SYMBOL: c_int = 1;

/// Names whose newest variant takes other arguments than before: the variant, and the CUDA version from which it is meant.
const CHANGED: [(&str, &str, c_int); 2] =
    [("cuCtxCreate", "cuCtxCreate_v4", 13000), ("cuGetProcAddress", "cuGetProcAddress_v2", 12000)];

/// The address of the entry point called `name`, which has no suffix, as CUDA `version` means it.
fn find(name: &str, version: c_int) -> Option<usize> {
    if let Some((_, variant, since)) = CHANGED.iter().find(|(changed, ..)| *changed == name)
        && version >= *since
    {
        return ENTRIES.get(variant).copied();
    }
    let second = format!("{name}_v2");
    let second = ENTRIES.get(second.as_str()).filter(|_| name != "cuGetProcAddress");
    second.or_else(|| ENTRIES.get(name)).copied()
}

fn query(name: Text, address: Out<usize>, version: c_int) -> Checked<c_int> {
    let found = find(name.get()?, version);
    address.put(found.unwrap_or(0))?;
    Ok(if found.is_some() { FOUND } else { NO_SUCH_SYMBOL })
}

entries! {
    fn cuGetProcAddress(name: Text, address: Out<usize>, version: c_int, _flags: u64) {
        if query(name, address, version)? == FOUND { Ok(()) } else { Err(Status::NOT_FOUND) }
    }

    fn cuGetProcAddress_v2(name: Text, address: Out<usize>, version: c_int, _flags: u64, status: Out<c_int>) {
        let outcome = query(name, address, version)?;
        status.put_if(outcome);
        if outcome == FOUND { Ok(()) } else { Err(Status::NOT_FOUND) }
    }

    fn cuGetExportTable(_table: Out<usize>, _id: usize) {
        Err(Status::NOT_SUPPORTED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_resolve_to_the_variant_of_their_version() {
        let at = |name: &str| ENTRIES.get(name).copied();
        for (name, version, variant) in [
            ("cuInit", 12080, "cuInit"),
            ("cuMemAlloc", 12080, "cuMemAlloc_v2"),
            ("cuCtxCreate", 12080, "cuCtxCreate_v2"),
            ("cuCtxCreate", 13000, "cuCtxCreate_v4"),
            ("cuGetProcAddress", 11040, "cuGetProcAddress"),
            ("cuGetProcAddress", 12000, "cuGetProcAddress_v2"),
        ] {
            assert!(at(variant).is_some() && find(name, version) == at(variant), "{name} {version}");
        }
        assert_eq!(find("cuNoSuchThing", 12080), None);
    }
}
