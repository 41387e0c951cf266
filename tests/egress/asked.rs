//! Random requests: what is asked, what is planted in it, and the bytes that may leave of it.

use std::iter;

use serde_json::{Value, json};

use crate::{
    allow::{Allow, LANES},
    dice::Dice,
    market,
    secrets::{Kind, letters},
};

/// Words that a rule may keep.
pub(crate) const WORDS: [&str; 3] = ["recipe_id", "Drawing-7", "püf tolerance"];
const HARMLESS: [&str; 8] =
    ["is", "loud", "\"quoted\"", "line\nbreak", "{\"json\": 1}", "é😀", "[EMAIL_1]", "[PHONE_2]"];
const MODELS: [&str; 10] = [
    "org/small",
    "org/small",
    "org/small",
    "org/small",
    "auto",
    "org/small:cheapest",
    "org/small:fastest",
    "org/small:scaleway",
    "org/small:groq",
    "org/small:cohere",
];

/// A piece of a text.
enum Piece {
    Plain(String),
    Secret(Kind),
}

/// A request, and what is known of it.
pub(crate) struct Asked {
    /// The body as it is asked.
    pub(crate) text: String,
    /// The same in small letters.
    lower: String,
    /// Stands in its text and in no other request.
    pub(crate) marker: String,
    /// Stands in a field that is not for others.
    pub(crate) withheld: String,
    pub(crate) secrets: Vec<(Kind, String)>,
    /// Of these the one that stands where nothing can be replaced.
    pub(crate) stuck: Option<Kind>,
    pub(crate) label: Option<&'static str>,
    /// Which lane it chooses; without, it is in the one for those who wait at the socket.
    pub(crate) lane: Option<&'static str>,
    pub(crate) zone_max: &'static str,
    pub(crate) max_tokens: usize,
    model: &'static str,
    shape: Shape,
    texts: Vec<Vec<Piece>>,
    temperature: bool,
}

/// How the texts are put into a body.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Plain,
    Parts,
    System,
    Turns,
    Tool,
}

impl Asked {
    pub(crate) fn random(dice: &mut Dice, seed: u64, n: u64) -> Self {
        let shape =
            *dice.pick(&[Shape::Plain, Shape::Plain, Shape::Parts, Shape::System, Shape::Turns, Shape::Tool]);
        let kinds: Vec<Kind> = (0..dice.below(4)).map(|_| *dice.pick(&Kind::ALL)).collect();
        let is_stuck = shape == Shape::Tool && dice.one_in(2);
        let mut asked = Self {
            text: String::new(),
            lower: String::new(),
            marker: format!("marker-{}-{}-", letters(seed), letters(n)),
            withheld: format!("withheld-{}-{}-", letters(seed), letters(n)),
            secrets: kinds.iter().map(|kind| (*kind, kind.value(seed, n))).collect(),
            stuck: kinds.first().copied().filter(|_| is_stuck),
            label: *dice.pick(&[
                None,
                None,
                None,
                Some("public"),
                Some("internal"),
                Some("restricted"),
                Some("?"),
            ]),
            lane: if dice.one_in(2) { Some(*dice.pick(&LANES)) } else { None },
            zone_max: *dice.pick(&[
                "cloud", "cloud", "cloud", "cloud", "cloud", "cloud", "cloud", "cloud", "site", "device",
            ]),
            max_tokens: *dice.pick(&[16, 16, 16, 2_000]),
            model: *dice.pick(&MODELS),
            shape,
            texts: Vec::new(),
            temperature: dice.one_in(2),
        };
        let count = if shape == Shape::Turns { 3 } else { 2 };
        asked.texts = (0..count).map(|_| Vec::new()).collect();
        asked.texts[0].push(Piece::Plain(asked.marker.clone()));
        for _ in 0..dice.below(4) {
            let piece = Piece::Plain((*dice.pick(&HARMLESS)).into());
            asked.texts[dice.below(count)].push(piece);
        }
        for kind in kinds {
            asked.texts[dice.below(count)].push(Piece::Secret(kind));
        }
        if dice.one_in(6) {
            let word = *dice.pick(&WORDS);
            let word = if dice.one_in(2) { word.to_uppercase() } else { word.into() };
            asked.texts[dice.below(count)].push(Piece::Plain(word));
        }
        asked.text = asked.written(dice.one_in(2)).to_string();
        asked.lower = asked.text.to_lowercase();
        asked
    }

    fn written(&self, stream: bool) -> Value {
        let texts: Vec<String> = self.texts_with(|kind| self.secret(kind).to_owned());
        let mut body = json!({"user": self.withheld, "model": self.model, "stream": stream});
        let (messages, tools) = self.shaped(&texts);
        body["messages"] = messages;
        if let Some(tools) = tools {
            body["tools"] = tools;
        }
        body["max_tokens"] = self.max_tokens.into();
        if self.temperature {
            body["temperature"] = 0.5.into();
        }
        body["metadata"] = json!({"note": self.withheld});
        body["outpost"] = json!({"id": self.marker});
        if let Some(lane) = self.lane {
            body["outpost"]["lane"] = lane.into();
        }
        if let Some(label) = self.label {
            body["outpost"]["data_class"] = label.into();
        }
        if self.zone_max != "cloud" {
            body["outpost"]["zone_max"] = self.zone_max.into();
        }
        body
    }

    /// Exactly the bytes that may leave to this provider, by this rule.
    pub(crate) fn sent(&self, provider: &str, allow: &Allow) -> Vec<u8> {
        let mut replaced: Vec<(Kind, String)> = Vec::new();
        let texts = self.texts_with(|kind| {
            if !allow.redacts(kind) {
                return self.secret(kind).to_owned();
            }
            if let Some((_, placeholder)) = replaced.iter().find(|(known, _)| *known == kind) {
                return placeholder.clone();
            }
            // By its detector and in the order of the text, behind all that stand there already.
            let number = self.highest_placeholder() + replaced.len() + 1;
            let placeholder = format!("[{}_{number}]", kind.detector().to_uppercase());
            replaced.push((kind, placeholder.clone()));
            placeholder
        });
        let (messages, tools) = self.shaped(&texts);
        let mut body = json!({
            "model": format!("org/small:{provider}"), "messages": messages, "max_tokens": self.max_tokens,
            "stream": true, "stream_options": {"include_usage": true},
        });
        if self.temperature {
            body["temperature"] = 0.5.into();
        }
        if let Some(tools) = tools {
            body["tools"] = tools;
        }
        body.to_string().into_bytes()
    }

    /// Whether this stands in it, in whatever case.
    pub(crate) fn speaks_of(&self, word: &str) -> bool {
        self.lower.contains(&word.to_lowercase())
    }

    /// Everybody who could answer it.
    pub(crate) fn candidates(&self) -> Vec<&'static str> {
        let pinned = self.model.split_once(':').map_or("", |(_, suffix)| suffix);
        let named = market::PROVIDERS.into_iter().filter(|name| *name == pinned).collect::<Vec<_>>();
        if named.is_empty() { market::PROVIDERS.into() } else { named }
    }

    /// Whether the error of one that is kept here has to say that the policy does so: who asks for whoever is
    /// best placed, and for what the device cannot do, hears that.
    pub(crate) fn hears_of_policy(&self) -> bool {
        self.model != "auto"
    }

    /// Whether it asks to leave at all.
    pub(crate) fn asks_to_leave(&self) -> bool {
        self.zone_max != "device"
    }

    fn highest_placeholder(&self) -> usize {
        if self.text.contains("[PHONE_2]") { 2 } else { usize::from(self.text.contains("[EMAIL_1]")) }
    }

    fn secret(&self, kind: Kind) -> &str {
        self.secrets.iter().find(|(known, _)| *known == kind).map_or("", |(_, value)| value)
    }

    fn texts_with(&self, mut secret: impl FnMut(Kind) -> String) -> Vec<String> {
        let mut text = |pieces: &Vec<Piece>| {
            let words = pieces.iter().map(|piece| match piece {
                Piece::Plain(word) => word.clone(),
                Piece::Secret(kind) => secret(*kind),
            });
            // Whatever stands beside a value must not look like a part of it.
            words.collect::<Vec<_>>().join(" ; ")
        };
        self.texts.iter().map(&mut text).collect()
    }

    fn shaped(&self, texts: &[String]) -> (Value, Option<Value>) {
        let user = |content: Value| json!({"role": "user", "content": content});
        match self.shape {
            Shape::Plain => (json!([user(texts.join(" ; ").into())]), None),
            Shape::Parts => {
                let parts = texts.iter().map(|text| json!({"type": "text", "text": text}));
                (json!([user(parts.collect())]), None)
            }
            Shape::System => {
                (json!([{"role": "system", "content": texts[0]}, user(texts[1].clone().into())]), None)
            }
            Shape::Turns => {
                let answer = json!({"role": "assistant", "content": texts[1]});
                (json!([user(texts[0].clone().into()), answer, user(texts[2].clone().into())]), None)
            }
            Shape::Tool => {
                let stuck = self.stuck.map_or("speed", |kind| self.secret(kind));
                let properties: serde_json::Map<String, Value> =
                    iter::once((stuck.to_owned(), json!({"type": "string"}))).collect();
                let function = json!({
                    "name": "note", "description": texts[1],
                    "parameters": {"type": "object", "properties": properties},
                });
                let tools = json!([{"type": "function", "function": function}]);
                (json!([user(texts[0].clone().into())]), Some(tools))
            }
        }
    }
}
