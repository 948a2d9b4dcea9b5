// Package bedrock talks to models on Amazon Bedrock by the operation
// ConverseStream, which is the same for all of them.
//
// It keeps the promises of [model.Model]. Of the AWS SDK it uses the framing of
// event streams and the signature of requests, version 4. Requests and events are
// encoded and decoded here; the tests hold both against the SDK's client.
//
// # Credentials
//
// A call is authorized by a Bedrock API key (Config.APIKey, the secret
// AWS_BEARER_TOKEN_BEDROCK) or, if there is none, by the access key in
// [Options.Credentials]. Nothing is looked up: no environment, no profile, no
// metadata service of the machine, because what these hold belongs to the
// operator and not to the tenant whose agent this is. provider_opts.profile is
// refused for that reason. provider_opts.region is needed unless there is a base
// URL.
//
// # What is sent
//
// A parameter that Config does not give is not sent, a given 0 is.
// FrequencyPenalty and PresencePenalty do not exist here and are refused. Nothing
// is sent for Request.EndUser and Request.IdempotencyKey. Images are sent as
// data only: the API takes no address.
//
// The API cannot be told to call one tool at a time. With ParallelToolCalls
// false only the first call of an answer is handed out and remembered; the model
// asks again for what it still needs.
//
// ThinkingBudget is understood for Claude, as in package anthropic. Other models
// take their own members, for which there is
// provider_opts.additional_model_request_fields. Reasoning with its signatures
// goes back with the next call through [model.Chunk.Opaque].
//
// Cache points are set for Claude from 3.7 on (after the tools, the system prompt
// and the user's last two turns) and for Nova (the same without the tools);
// provider_opts.cache true or false decides otherwise.
package bedrock
