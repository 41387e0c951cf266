//! Execution providers: which one computes the graph, and why not the one before it.
//!
//! A provider is asked for by name. Built-in ones are registered with an error when that does
//! not work: without it ONNX Runtime only logs, and the graph runs on the processor unnoticed.
//! Plug-ins are libraries that show devices; none shown is an error here, because a session
//! with an empty list of devices runs on the processor as well.

mod placement;
mod plugin;

use std::{collections::BTreeMap, fmt, path::PathBuf};

use ort::{
    environment::Environment,
    ep::{self, ArbitrarilyConfigurableExecutionProvider as Options, ExecutionProviderDispatch},
    session::builder::SessionBuilder,
};
use serde::{Deserialize, Serialize};

pub use placement::Placement;
pub(super) use placement::Watch;

use crate::domain::{CPU_PROVIDER, DeviceKind};

/// An execution provider as it is configured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provider {
    /// One of [`BUILT_IN_PROVIDERS`](crate::domain::BUILT_IN_PROVIDERS), or any name for a plug-in.
    pub name: String,
    /// The plug-in's library; `None`: it is built in.
    pub library: Option<PathBuf>,
    /// Which of a plug-in's devices; `None`: all.
    pub device: Option<DeviceKind>,
    /// Options as the provider's own documentation names them.
    pub options: BTreeMap<String, String>,
}

/// XNNPACK's option for threads of its own; it has one without it.
const XNNPACK_THREADS: &str = "intra_op_num_threads";

impl Provider {
    /// One that is built in, without options.
    pub fn built_in(name: &str) -> Self {
        Self { name: name.to_owned(), library: None, device: None, options: BTreeMap::new() }
    }

    /// The processor.
    pub fn cpu() -> Self {
        Self::built_in(CPU_PROVIDER)
    }

    /// Whether it is the processor, as every build of ONNX Runtime has it.
    pub fn is_cpu(&self) -> bool {
        self.name == CPU_PROVIDER && self.library.is_none()
    }

    /// Makes the sessions that `builder` opens run on it, and on the processor what it does not take. Where a provider
    /// has threads of its own and none were configured, it gets `threads`.
    pub(super) fn register(
        &self,
        builder: SessionBuilder,
        environment: &Environment,
        threads: usize,
    ) -> Result<SessionBuilder, String> {
        let said = |e: ort::Error<SessionBuilder>| e.to_string();
        // The arena would keep the peak of the longest prefill for ever.
        let cpu = ep::CPU::default().with_arena_allocator(false).build().error_on_failure();
        if self.is_cpu() {
            return builder.with_execution_providers([cpu]).map_err(said);
        }
        let builder = if let Some(library) = &self.library {
            plugin::register(self, library, builder, environment)?
        } else {
            let provider = self.dispatch(threads)?.error_on_failure();
            builder.with_execution_providers([provider]).map_err(|e| self.refused(&e.to_string()))?
        };
        builder.with_execution_providers([cpu]).map_err(said)
    }

    fn dispatch(&self, threads: usize) -> Result<ExecutionProviderDispatch, String> {
        if cfg!(not(target_os = "android")) && self.name == "nnapi" {
            return Err(
                "NNAPI is a part of Android and does not exist on Linux; name another provider".into()
            );
        }
        Ok(match self.name.as_str() {
            "xnnpack" => {
                let own = ep::XNNPACK::default().with_arbitrary_config(XNNPACK_THREADS, threads.to_string());
                self.with_options(own).build()
            }
            "qnn" => self.with_options(ep::QNN::default()).build(),
            "cuda" => self.with_options(ep::CUDA::default()).build(),
            "tensorrt" => self.with_options(ep::TensorRT::default()).build(),
            "openvino" => self.with_options(ep::OpenVINO::default()).build(),
            "nnapi" => self
                .flags(
                    ep::NNAPI::default(),
                    &[
                        ("fp16", ep::NNAPI::with_fp16),
                        ("nchw", ep::NNAPI::with_nchw),
                        ("disable_cpu", ep::NNAPI::with_disable_cpu),
                        ("cpu_only", ep::NNAPI::with_cpu_only),
                    ],
                )?
                .build(),
            "acl" => self.flags(ep::ACL::default(), &[("fast_math", ep::ACL::with_fast_math)])?.build(),
            other => return Err(format!("nobody knows a provider `{other}`; a plug-in needs its `library`")),
        })
    }

    /// ONNX Runtime's own words for what keeps a provider from being registered say little of what to do.
    fn refused(&self, said: &str) -> String {
        let was_left_out = ["in this build", "symbol"].iter().any(|word| said.contains(word));
        if was_left_out || self.options.is_empty() {
            return format!(
                "this build of ONNX Runtime cannot take it: {said}. Name a library that was built with it in \
                 `runtime.onnxruntime`, or the provider's plug-in in `library` of its [[provider]]"
            );
        }
        let options: Vec<_> =
            self.options.iter().map(|(key, value)| format!("{key} = \"{value}\"")).collect();
        format!("it does not start with its options {}: {said}", options.join(", "))
    }

    fn with_options<E: Options>(&self, provider: E) -> E {
        self.options.iter().fold(provider, |p, (key, value)| p.with_arbitrary_config(key, value))
    }

    /// Options of a provider that has nothing but switches.
    fn flags<E>(&self, provider: E, known: &[(&str, Switch<E>)]) -> Result<E, String> {
        self.options.iter().try_fold(provider, |provider, (key, value)| {
            let names = || known.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
            let (_, set) = known
                .iter()
                .find(|(name, _)| name == key)
                .ok_or_else(|| format!("it has no option `{key}`, only {}", names()))?;
            Ok(set(provider, matches!(value.as_str(), "1" | "true")))
        })
    }
}

/// Turns an option of a provider on or off.
type Switch<E> = fn(E, bool) -> E;

/// A provider that was wanted and does not run the model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassedOver {
    /// Its name.
    pub provider: String,
    /// Why.
    pub reason: String,
}

impl fmt::Display for PassedOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}", self.provider, self.reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn switches_are_set_by_name_and_others_refused() {
        let acl = |key: &str| Provider {
            options: BTreeMap::from([(key.to_owned(), "1".to_owned())]),
            ..Provider::built_in("acl")
        };
        assert!(acl("fast_math").dispatch(2).is_ok());
        assert_eq!(acl("fast").dispatch(2).err().unwrap(), "it has no option `fast`, only fast_math");
    }

    #[test]
    fn a_provider_that_is_missing_and_one_with_a_wrong_option_are_told_apart() {
        let options = BTreeMap::from([("threads".to_owned(), "many".to_owned())]);
        let provider = Provider { options, ..Provider::built_in("xnnpack") };
        assert_eq!(provider.refused("stoi"), "it does not start with its options threads = \"many\": stoi");
        for left_out in ["XNNPACK execution provider is not supported in this build.", "no symbol `x`"] {
            assert!(provider.refused(left_out).contains("Name a library"));
        }
        assert!(Provider::built_in("xnnpack").refused("stoi").contains("Name a library"));
    }

    #[test]
    fn what_does_not_exist_here_is_said_plainly() {
        assert!(Provider::built_in("nnapi").dispatch(2).err().unwrap().contains("part of Android"));
        assert!(Provider::built_in("magic").dispatch(2).err().unwrap().contains("`library`"));
    }
}
