//! The log goes to standard error: for the journal with syslog priorities and without the
//! time that it adds itself, for a terminal with both time and colour.

use std::{fmt, io::IsTerminal};

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::{
    EnvFilter,
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::{Format, Full, Writer},
        time::SystemTime,
    },
    registry::LookupSpan,
};

/// Starts logging at `level`; the variable `OUTPOST_LOG` may say more per module, such as
/// `outpost::engine=debug`. ONNX Runtime's own messages come from `warn` on.
pub fn init(level: Level) {
    let fallback = format!("{level},ort=warn");
    let filter = EnvFilter::try_from_env("OUTPOST_LOG").unwrap_or_else(|_| EnvFilter::new(fallback));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // Set by systemd for services whose output goes to the journal (systemd.exec(5)).
    if std::env::var_os("JOURNAL_STREAM").is_some() {
        let inner = Format::default().with_ansi(false).with_target(false).with_level(false).without_time();
        let _ = builder.with_ansi(false).event_format(Journal(inner)).try_init();
    } else {
        let _ = builder.with_ansi(std::io::stderr().is_terminal()).with_target(false).try_init();
    }
}

/// Prefixes each line with its priority, as sd-daemon(3) describes.
struct Journal(Format<Full, ()>);

impl<S, N> FormatEvent<S, N> for Journal
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    Format<Full, SystemTime>: FormatEvent<S, N>,
    Format<Full, ()>: FormatEvent<S, N>,
{
    fn format_event(&self, ctx: &FmtContext<'_, S, N>, mut w: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let priority = match *event.metadata().level() {
            Level::ERROR => 3,
            Level::WARN => 4,
            Level::INFO => 6,
            _ => 7,
        };
        write!(w, "<{priority}>")?;
        self.0.format_event(ctx, w, event)
    }
}
