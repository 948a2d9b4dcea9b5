// Package openai talks to OpenAI, by the chat completions or the responses API,
// and to the many servers that speak the former.
//
// It keeps the promises of [model.Model]. Requests go through OpenAI's own SDK
// (transport, authentication, no credentials to another origin on a redirect),
// but never through its environment: only [model.Config] says where a call goes
// and with which key. Request bodies and stream events are encoded and decoded
// here, because the SDK's codec takes several times as long; the tests hold both
// against the SDK's types.
//
// # Which API
//
// provider_opts.api_type decides: "openai_chatcompletions" (or
// "chat_completions"), "openai_responses" (or "responses"). Without it the
// provider openai uses responses for reasoning models (o1, o3, o4, gpt-5 and
// later, codex, deep research, computer use), since OpenAI offers some of them
// nowhere else, and chat completions for all others; every other provider uses
// chat completions.
//
// # What is sent
//
// A parameter that Config does not give is not sent, a given 0 is. MaxTokens is
// sent as max_completion_tokens to OpenAI itself and to models named like a
// reasoning model, which refuse max_tokens; as max_tokens to everybody else;
// provider_opts.max_tokens_param overrides. ParallelToolCalls is sent only with
// tools. ThinkingBudget becomes reasoning_effort: efforts as they are, tokens by
// size (0 none, up to 2,048 low, up to 8,192 medium, else high; -1, which leaves
// it to the model, sends nothing). Usage is asked for with
// stream_options.include_usage unless TrackUsage is false or the server is one
// that sends usage anyway and refuses the option. Nothing is sent for
// Request.IdempotencyKey: no endpoint here documents one.
//
// The responses API is used without state on OpenAI's side (store: false unless
// provider_opts.store says otherwise); encrypted reasoning goes back with the
// next call through [model.Chunk.Opaque].
package openai
