// Package gemini talks to Google's Gemini by the Gemini API's
// streamGenerateContent.
//
// It keeps the promises of [model.Model]. Requests, stream and errors are
// handled here over plain net/http: Google's SDK brings gRPC, credentials of its
// own and a goroutine that starts with the program, of which an API key in a
// header needs nothing. The tests hold requests and stream against the SDK's
// types.
//
// # What is sent
//
// A parameter that Config does not give is not sent, a given 0 is. Schemas of
// tools and of structured output go out whole, as JSON schemas. Nothing is sent
// for Request.EndUser and Request.IdempotencyKey: the API has neither.
//
// The API cannot be told to call one tool at a time. With ParallelToolCalls
// false only the first call of an answer is handed out and remembered; the model
// asks again for what it still needs.
//
// # Thinking
//
// ThinkingBudget becomes thinkingBudget for models before Gemini 3 and
// thinkingLevel from Gemini 3 on:
//
//	            before 3          3 and later
//	N tokens    N                 by size: LOW (≤ 2,048), MEDIUM (≤ 8,192), HIGH
//	-1          -1 (dynamic)      the model's default
//	adaptive    -1 (dynamic)      the model's default
//	0, none     0                 MINIMAL
//	minimal     1,024             MINIMAL
//	low         2,048             LOW
//	medium      8,192             MEDIUM
//	high        16,384            HIGH
//	xhigh, max  24,576            HIGH
//
// Pro takes LOW where this says MINIMAL, and Gemini 3 Pro HIGH for MEDIUM.
//
// A model whose name tells no version gets what the value literally says. Where
// thinking is asked for, its summary is asked for too, unless
// provider_opts.include_thoughts is false.
//
// Thought signatures go back with the parts that they came with, through
// [model.Chunk.Opaque]. Gemini 3 refuses calls of the current turn without one;
// for those that another model made, the value that Google documents for this
// purpose is sent instead.
//
// # Calls
//
// Calls to which the API gave no id get one that depends on nothing but the
// request and the call's place in the answer.
package gemini
