//! Execution providers: ONNX Runtime's term for what computes a graph.

/// The provider that every build has, and that takes what no other does.
pub const CPU_PROVIDER: &str = "cpu";

/// Providers that are compiled into a build of ONNX Runtime, where its makers wanted them. Others come as plug-ins
/// and may have any name.
pub const BUILT_IN_PROVIDERS: [&str; 8] =
    [CPU_PROVIDER, "xnnpack", "qnn", "nnapi", "cuda", "tensorrt", "acl", "openvino"];

/// Kind of a device that a plug-in shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceKind {
    /// The processor.
    Cpu,
    /// Graphics.
    Gpu,
    /// A unit for neural networks.
    Npu,
}

impl DeviceKind {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::Cpu, Self::Gpu, Self::Npu];

    /// The name in configuration and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Gpu => "gpu",
            Self::Npu => "npu",
        }
    }
}
