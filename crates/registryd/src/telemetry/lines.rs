//! How an event becomes a line: for people, as JSON, or as JSON with Logstash's names.
//!
//! What comes from clients may stand in any field. No text of theirs can begin a new line, end its field
//! or reach a terminal as a command.

use std::fmt::{self, Write};

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::access;
use crate::config::{Log, LogFormatter};

/// Writes events as `log.formatter` says, each with the fields of `log.fields`.
#[derive(Debug)]
pub(super) struct Lines {
    formatter: LogFormatter,
    constant: Vec<(String, String)>,
}

impl Lines {
    pub(super) fn new(log: &Log) -> Self {
        let constant = log.fields.iter();
        Self {
            formatter: log.formatter,
            constant: constant.map(|(k, v)| (k.clone(), v.clone())).collect(),
        }
    }

    fn text(&self, event: &Event<'_>, colours: bool) -> String {
        let mut fields = Text::default();
        event.record(&mut fields);
        for (name, value) in &self.constant {
            fields.add(name, value);
        }
        let level = event.metadata().level();
        let (begin, end) = match *level {
            _ if !colours => ("", ""),
            Level::ERROR => ("\x1b[31m", "\x1b[0m"),
            Level::WARN => ("\x1b[33m", "\x1b[0m"),
            Level::INFO => ("\x1b[32m", "\x1b[0m"),
            _ => ("\x1b[34m", "\x1b[0m"),
        };
        format!(
            "{} {begin}{:>5}{end} {}{}",
            now(),
            level.as_str(),
            fields.message,
            fields.rest
        )
    }

    /// The names are those that Distribution's logs have, for whatever reads them.
    fn json(&self, event: &Event<'_>) -> String {
        let metadata = event.metadata();
        let mut fields = Json {
            is_access: metadata.target() == access::TARGET,
            ..Json::default()
        };
        event.record(&mut fields);
        let level = match *metadata.level() {
            Level::ERROR => "error",
            Level::WARN => "warning",
            Level::INFO => "info",
            _ => "debug",
        };
        let message = fields.message;
        let own = if self.formatter == LogFormatter::Logstash {
            vec![
                ("@timestamp", now()),
                ("@version", "1".to_owned()),
                ("level", level.to_owned()),
                ("message", message),
            ]
        } else {
            vec![
                ("time", now()),
                ("level", level.to_owned()),
                ("msg", message),
            ]
        };
        let mut line = Map::new();
        for (name, value) in own {
            line.insert(name.to_owned(), value.into());
        }
        let constant = self.constant.iter().cloned();
        let constant = constant.map(|(name, value)| (name, value.into()));
        for (name, value) in fields.fields.into_iter().chain(constant) {
            // As in Distribution: what is the line's own stays, and the other gets a longer name.
            let name = if line.contains_key(&name) {
                format!("fields.{name}")
            } else {
                name
            };
            line.insert(name, value);
        }
        Value::Object(line).to_string()
    }
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let line = match self.formatter {
            LogFormatter::Text => self.text(event, writer.has_ansi_escapes()),
            LogFormatter::Json | LogFormatter::Logstash => self.json(event),
        };
        writeln!(writer, "{line}")
    }
}

fn now() -> String {
    let mut text = String::new();
    let _ = SystemTime.format_time(&mut Writer::new(&mut text));
    text
}

/// Fields as `name=value`.
#[derive(Default)]
struct Text {
    message: String,
    rest: String,
}

impl Text {
    fn add(&mut self, name: &str, value: &str) {
        let _ = if is_plain(value) {
            write!(self.rest, " {name}={value}")
        } else {
            write!(self.rest, " {name}={value:?}")
        };
    }
}

impl Visit for Text {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.message = message(value);
        } else {
            self.add(field.name(), value);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &unquoted(value));
    }
}

/// Fields as JSON values.
#[derive(Default)]
struct Json {
    is_access: bool,
    message: String,
    fields: Map<String, Value>,
}

impl Json {
    fn add(&mut self, field: &Field, value: impl Into<Value>) {
        let name = match field.name() {
            name if !self.is_access => name,
            "id" => "http.request.id",
            "method" => "http.request.method",
            "uri" => "http.request.uri",
            "remote" => "http.request.remoteaddr",
            "agent" => "http.request.useragent",
            "status" => "http.response.status",
            "bytes" => "http.response.written",
            "took" => "http.response.duration",
            "user" => "auth.user.name",
            name => name,
        };
        self.fields.insert(name.to_owned(), value.into());
    }
}

impl Visit for Json {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.message);
        } else {
            self.add(field, value);
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &unquoted(value));
    }
}

/// What `Debug` writes, without the quotes that it puts around a text: fields are quoted here, where it
/// is known whether they need it.
fn unquoted(value: &dyn fmt::Debug) -> String {
    let text = format!("{value:?}");
    match serde_json::from_str::<String>(&text) {
        Ok(inner) if text.starts_with('"') => inner,
        _ => text,
    }
}

/// Whether a value needs no quotes: then nothing in it can be taken for its end.
fn is_plain(value: &str) -> bool {
    let fits = |c: char| c.is_alphanumeric() || "-._:/+@%,?&=*()[]…".contains(c);
    !value.is_empty() && value.chars().all(fits)
}

/// A message may have several lines. All but the first are indented, which no line of another event is.
fn message(text: &str) -> String {
    let mut message = String::with_capacity(text.len());
    for c in text.trim_end().chars() {
        match c {
            '\n' => message.push_str("\n    "),
            c if c.is_control() || is_line_break(c) => {
                let _ = write!(message, "{}", c.escape_default());
            }
            c => message.push(c),
        }
    }
    message
}

/// Line separators beside the control characters, and what turns the direction of text around.
fn is_line_break(c: char) -> bool {
    matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use proptest::prelude::*;
    use tracing_subscriber::fmt::MakeWriter;

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Kept {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    fn written(formatter: LogFormatter, log: impl FnOnce()) -> String {
        let mut config = Log {
            formatter,
            ..Log::default()
        };
        config.fields.insert("service".into(), "registry".into());
        config.fields.insert("level".into(), "mine".into());
        let kept = Kept::default();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(kept.clone())
            .with_ansi(false)
            .event_format(Lines::new(&config))
            .finish();
        tracing::subscriber::with_default(subscriber, log);
        String::from_utf8(kept.0.lock().unwrap().clone()).unwrap()
    }

    fn object(line: &str) -> Value {
        assert_eq!(line.matches('\n').count(), 1, "{line}");
        serde_json::from_str(line).unwrap()
    }

    #[test]
    fn json_has_the_names_of_distribution() {
        let line = written(LogFormatter::Json, || {
            tracing::warn!(count = 3, path = ?"/a b", "said");
        });
        let line = object(&line);
        assert_eq!(line["level"], "warning");
        assert_eq!(line["msg"], "said");
        assert_eq!(line["count"], 3);
        assert_eq!(line["path"], "/a b");
        assert_eq!(line["service"], "registry");
        assert_eq!(line["fields.level"], "mine");
        assert!(line["time"].as_str().unwrap().ends_with('Z'));
        let access = written(LogFormatter::Json, || {
            tracing::info!(target: access::TARGET, method = "GET", status = 200_u16, "request");
        });
        let access = object(&access);
        assert_eq!(access["http.request.method"], "GET");
        assert_eq!(access["http.response.status"], 200);
    }

    #[test]
    fn logstash_has_its_own_names() {
        let line = object(&written(LogFormatter::Logstash, || tracing::info!("said")));
        assert_eq!(line["@version"], "1");
        assert_eq!(line["message"], "said");
        assert_eq!(line["level"], "info");
        assert!(line["@timestamp"].as_str().unwrap().ends_with('Z'));
        assert!(line.get("msg").is_none());
    }

    #[test]
    fn text_is_for_people() {
        let line = written(LogFormatter::Text, || {
            tracing::info!(status = 200_u16, agent = "curl/8 (x)", line_of = ?Some(1), "request\n = fix: it");
        });
        let (_, rest) = line.split_once("  INFO ").unwrap();
        assert_eq!(
            rest,
            "request\n     = fix: it status=200 agent=\"curl/8 (x)\" line_of=Some(1) level=mine service=registry\n"
        );
    }

    proptest! {
        /// No text in a field begins a line, ends its field or commands a terminal.
        #[test]
        fn nothing_can_be_injected(text in "(\\PC|\n|\r|\t|\u{1b}|\"|=| |\u{2028}){0,40}") {
            let line = written(LogFormatter::Text, || tracing::info!(agent = text.as_str(), %text, "request"));
            prop_assert_eq!(line.lines().count(), 1, "{}", line);
            prop_assert!(!line.trim_end().chars().any(char::is_control), "{}", line);
            let value = line.split(" agent=").nth(1).unwrap_or_default();
            if value.starts_with('"') {
                let quoted = format!("agent={text:?}");
                prop_assert!(line.contains(&quoted), "{}", line);
            } else {
                prop_assert!(value.starts_with(text.as_str()) && !text.contains(' '));
            }
            for formatter in [LogFormatter::Json, LogFormatter::Logstash] {
                let line = written(formatter, || tracing::info!(agent = text.as_str(), "request"));
                prop_assert_eq!(line.matches('\n').count(), 1);
                let line: Value = serde_json::from_str(&line).unwrap();
                prop_assert_eq!(line["agent"].as_str(), Some(text.as_str()));
            }
            let line = written(LogFormatter::Text, || tracing::info!("{text}"));
            prop_assert!(line.lines().skip(1).all(|line| line.starts_with("    ")));
        }
    }
}
