//! From a request to what the engine needs of it: token ids, room for the answer.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use super::{Input, Request, reply::Frame, tools::Tools};
use crate::{
    domain::{Clock, Error, ErrorKind, Result, UnixSeconds, Zone},
    engine::{Calling, Model},
    scheduler::Work,
};

/// A request in the tokens of one model.
#[derive(Clone)]
pub(super) struct Prepared {
    pub(super) model: Arc<Model>,
    pub(super) prompt: Vec<u32>,
    /// How tools may be called.
    pub(super) calling: Option<Calling>,
    /// Most tokens of the answer; the context has room for them.
    pub(super) answer_tokens: usize,
}

impl Prepared {
    /// What it takes, when answers have `answer_mean` tokens on average.
    pub(super) fn work(&self, answer_mean: u64) -> Work {
        Work { prompt: self.prompt.len() as u64, answer: answer_mean.clamp(1, self.answer_tokens as u64) }
    }

    /// What every part of the answer repeats.
    pub(super) fn frame(&self, request: &Request, created: UnixSeconds) -> Frame {
        Frame {
            id: request.key.id.clone(),
            created,
            model: self.model.manifest.name.clone(),
            fingerprint: self.model.fingerprint(),
            kind: request.kind,
            zone: Zone::Device,
            provider: String::new(),
        }
    }
}

/// Holds a request against the model: its name, its context, its vocabulary.
pub(super) fn prepare(
    request: &Request,
    input: &Input,
    model: &Arc<Model>,
    clock: &dyn Clock,
) -> Result<Prepared> {
    if let Some(error) = request.needs.beyond_device(model.calls.is_some()) {
        return Err(error);
    }
    if let Some(wanted) = request.model.name().filter(|m| *m != model.manifest.name) {
        let why = format!("model `{wanted}` is not loaded here; ask for `{}` or `auto`", model.manifest.name);
        return Err(Error { param: Some("model".into()), ..Error::new(ErrorKind::ModelNotFound, why) });
    }
    let tools = request.tools.as_ref();
    let (prompt, calling) = catch_unwind(AssertUnwindSafe(|| encode(input, tools, model, clock)))
        .unwrap_or_else(|_| Err(Error::internal("the tokenizer or the chat template panicked")))?;
    check_bias(request, model)?;
    let answer_tokens = model
        .answer_room(prompt.len(), request.options.tokens_max)
        .map_err(|e| Error { param: Some(request.input.field().into()), ..e })?;
    Ok(Prepared { model: Arc::clone(model), prompt, calling, answer_tokens })
}

fn encode(
    input: &Input,
    tools: Option<&Tools>,
    model: &Model,
    clock: &dyn Clock,
) -> Result<(Vec<u32>, Option<Calling>)> {
    let mut prompt = match input {
        Input::Chat(messages) => {
            let list = tools.map(Tools::list).transpose()?;
            let rendered = model.template.render(messages, list, true, clock.wall())?;
            model.tokenizer.encode_prompt(&rendered)?
        }
        Input::Text(text) => model.tokenizer.encode_text(text)?,
        Input::Tokens(ids) => {
            if let Some(id) = ids.iter().find(|id| **id as usize >= model.manifest.vocabulary) {
                return Err(Error::invalid("prompt", format!("{id} is not a token of this model")));
            }
            ids.clone()
        }
    };
    if prompt.is_empty() {
        // A model needs one token to go on from: the one that begins a text.
        prompt.extend(model.manifest.bos.or(model.manifest.eos.first().copied()));
    }
    let calling = match (tools, model.calls) {
        (Some(tools), Some(marks)) => Some(tools.begin(marks, &model.tokenizer, &mut prompt)?),
        _ => None,
    };
    Ok((prompt, calling))
}

fn check_bias(request: &Request, model: &Model) -> Result<()> {
    let beyond =
        request.options.sampling.logit_bias.iter().find(|(id, _)| *id as usize >= model.manifest.vocabulary);
    match beyond {
        Some((id, _)) => {
            Err(Error::invalid(format!("logit_bias.{id}"), format!("{id} is not a token of this model")))
        }
        None => Ok(()),
    }
}
