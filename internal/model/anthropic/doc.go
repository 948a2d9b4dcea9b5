// Package anthropic talks to Claude by Anthropic's Messages API.
//
// It keeps the promises of [model.Model]. Requests go through Anthropic's own
// SDK (transport, authentication, API version), but never through its
// environment or its tracing: only [model.Config] says where a call goes and
// with which key. Request bodies and stream events are encoded and decoded here,
// because the SDK's codec takes several times as long; the tests hold both
// against the SDK's types.
//
// # What is sent
//
// A parameter that Config does not give is not sent, a given 0 is. The one
// exception is max_tokens, which the API demands: without it the model's default
// is sent (see defaultMaxTokens). FrequencyPenalty and PresencePenalty do not
// exist here and are refused. ParallelToolCalls is sent only with tools. Nothing
// is sent for Request.IdempotencyKey: the API documents none.
//
// # Thinking
//
// ThinkingBudget becomes what the model takes. Models up to 4.5 think by a budget
// of tokens ("manual"), models from 4.7 on by effort ("adaptive"), 4.6 by either:
//
//	            manual models            adaptive models
//	N ≥ 1024    budget N                 4.6: budget N; later: by size, as effort
//	                                     low (≤ 2,048), medium (≤ 8,192), high
//	-1          refused                  adaptive, the model decides
//	0, none     nothing sent             from 5 on: disabled; before: nothing sent
//	minimal     budget 1,024             effort low
//	low         budget 2,048             effort low
//	medium      budget 8,192             effort medium
//	high        budget 16,384            effort high
//	xhigh, max  budget 32,768            effort xhigh, max
//	adaptive    refused                  adaptive, the model decides
//
// A model whose name tells no version gets what the value literally says: a
// budget for tokens, adaptive thinking for an effort.
//
// Thinking blocks with their signatures, redacted ones too, go back with the
// next call through [model.Chunk.Opaque]. Manual thinking is interleaved with
// tools by the beta header unless provider_opts.interleaved_thinking is false;
// adaptive thinking is by itself. A turn that another model began cannot be
// continued with manual thinking, since the API wants it to begin with a thinking
// block: such a call is made without.
//
// # Prompt caching
//
// The last tool, the end of the system prompt and the last two turns of the user
// are marked for the cache, the four marks that the API allows, unless
// provider_opts.cache is false. provider_opts.cache_ttl is "5m" (the API's
// default) or "1h".
package anthropic
