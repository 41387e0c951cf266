//! Providers in libraries of their own.
//!
//! A library stays registered until the process ends: there is no way to take it back. So
//! what it showed is remembered, and it is registered once.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use ort::{environment::Environment, memory::DeviceType, session::builder::SessionBuilder};

use super::Provider;
use crate::domain::DeviceKind;

/// Names of the providers whose devices a library shows.
type Shown = BTreeSet<String>;

/// By library.
static REGISTERED: Mutex<BTreeMap<PathBuf, Shown>> = Mutex::new(BTreeMap::new());

/// `ort` copies names into a buffer of 128 bytes.
const NAME_BYTES_MAX: usize = 120;

pub(super) fn register(
    provider: &Provider,
    library: &Path,
    builder: SessionBuilder,
    environment: &Environment,
) -> Result<SessionBuilder, String> {
    let shown = shown_by(provider, library, environment)?;
    let ours = |name: &str| shown.contains(name) && name.len() <= NAME_BYTES_MAX;
    let devices: Vec<_> = environment
        .devices()
        .filter(|device| device.ep().is_ok_and(ours))
        .filter(|device| {
            provider.device.is_none_or(|wanted| kind(device.hardware_device().ty()) == Some(wanted))
        })
        .collect();
    if devices.is_empty() {
        let which =
            provider.device.map_or_else(|| "device".to_owned(), |kind| format!("{} device", kind.name()));
        return Err(format!(
            "its library {} is loaded and shows no {which} on this board: is its driver there, and may Outpost use it?",
            library.display()
        ));
    }
    let prefixed = |(key, value): (&String, &String)| {
        shown.iter().map(|name| (format!("{name}.{key}"), value.clone())).collect::<Vec<_>>()
    };
    let options: Vec<_> = provider.options.iter().flat_map(prefixed).collect();
    builder.with_devices(devices, Some(&options)).map_err(|e| format!("it does not take its devices: {e}"))
}

fn shown_by(provider: &Provider, library: &Path, environment: &Environment) -> Result<Shown, String> {
    let mut registered = REGISTERED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(shown) = registered.get(library) {
        return Ok(shown.clone());
    }
    if !library.is_file() {
        return Err(format!("its library {} is not there", library.display()));
    }
    let names = || -> Shown { environment.devices().filter_map(|d| Some(d.ep().ok()?.to_owned())).collect() };
    let before = names();
    environment
        .register_ep_library(provider.name.as_str(), library)
        .map_err(|e| format!("its library {} cannot be registered: {e}", library.display()))?;
    let shown: Shown = names().difference(&before).cloned().collect();
    registered.insert(library.to_owned(), shown.clone());
    Ok(shown)
}

const fn kind(device: DeviceType) -> Option<DeviceKind> {
    match device {
        DeviceType::CPU => Some(DeviceKind::Cpu),
        DeviceType::GPU => Some(DeviceKind::Gpu),
        DeviceType::NPU => Some(DeviceKind::Npu),
        DeviceType::FPGA => None,
    }
}
