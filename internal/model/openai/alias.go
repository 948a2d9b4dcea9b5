package openai

import "sort"

// Alias is a provider that is reached through this package.
type Alias struct {
	// BaseURL is used where the agent file gives none; "" means that it must. ${NAME}
	// in it stands for a secret, which is put in before it comes to this package.
	BaseURL string
	// KeyName is the secret that holds the key where the agent file names none by
	// token_key; "" is a server that needs no key (one that is given is sent).
	KeyName string
	// Source is where the facts of the row come from.
	Source string

	quirks quirks
}

// quirks are the differences from the OpenAI API that the providers document.
type quirks struct {
	// maxTokens is the parameter for Config.MaxTokens, "" for max_tokens.
	maxTokens string
	// noStreamOptions: usage comes in the last chunk by itself, and the parameter
	// is not in the API, which refuses unknown ones.
	noStreamOptions bool
	// endUser is the parameter for Request.EndUser, "" for none.
	endUser string
	// seed is the parameter for provider_opts.seed, "" for seed.
	seed string
	// azure: the key goes in the header api-key; with provider_opts.api_version the
	// model is a deployment in the path.
	azure bool
	// anySchema: the schema of a tool may have any root, alternatives and references
	// too.
	anySchema bool
	// mistral: ids of calls have nine letters and digits, and an assistant's message
	// stands between a tool's and the user's.
	mistral bool
}

// Aliases are the providers of this package by their names in agent files. A
// provider with another name is a custom one: it needs a base URL, and a key if
// its server wants one.
var Aliases = map[string]Alias{
	"openai": {
		BaseURL: "https://api.openai.com/v1", KeyName: "OPENAI_API_KEY",
		Source: "https://platform.openai.com/docs/api-reference/chat/create: max_tokens is deprecated for max_completion_tokens, user for safety_identifier",
		quirks: quirks{maxTokens: "max_completion_tokens", endUser: "safety_identifier"},
	},
	"azure": {
		KeyName: "AZURE_API_KEY",
		Source:  "https://learn.microsoft.com/azure/ai-foundry/openai/api-version-lifecycle: base URL https://RESOURCE.openai.azure.com/openai/v1/ without api-version; before: /openai/deployments/NAME and api-version",
		quirks:  quirks{endUser: "user", azure: true},
	},
	"mistral": {
		BaseURL: "https://api.mistral.ai/v1", KeyName: "MISTRAL_API_KEY",
		Source: "https://docs.mistral.ai/api/: no stream_options and no user in ChatCompletionStreamRequest; random_seed; unknown members answer 422 extra_forbidden",
		quirks: quirks{noStreamOptions: true, seed: "random_seed", mistral: true},
	},
	"xai": {
		BaseURL: "https://api.x.ai/v1", KeyName: "XAI_API_KEY",
		Source: "https://docs.x.ai/docs/api-reference: max_tokens; reasoning tokens are counted beside completion_tokens",
	},
	"nebius": {
		BaseURL: "https://api.studio.nebius.com/v1", KeyName: "NEBIUS_API_KEY",
		Source: "https://docs.nebius.com/studio/inference/quickstart",
	},
	"requesty": {
		BaseURL: "https://router.requesty.ai/v1", KeyName: "REQUESTY_API_KEY",
		Source: "https://docs.requesty.ai/quickstart",
	},
	"minimax": {
		BaseURL: "https://api.minimax.io/v1", KeyName: "MINIMAX_API_KEY",
		Source: "https://platform.minimax.io/docs/api-reference/text-openai-api",
	},
	"atlascloud": {
		BaseURL: "https://api.atlascloud.ai/v1", KeyName: "ATLASCLOUD_API_KEY",
		Source: "https://github.com/docker/docker-agent/blob/main/docs/providers/atlascloud/index.md",
	},
	"baseten": {
		BaseURL: "https://inference.baseten.co/v1", KeyName: "BASETEN_API_KEY",
		Source: "https://docs.baseten.co/development/model-apis/overview",
	},
	"cerebras": {
		BaseURL: "https://api.cerebras.ai/v1", KeyName: "CEREBRAS_API_KEY",
		Source: "https://inference-docs.cerebras.ai/resources/openai",
	},
	"cloudflare-ai-gateway": {
		BaseURL: "https://gateway.ai.cloudflare.com/v1/${CLOUDFLARE_ACCOUNT_ID}/${CLOUDFLARE_GATEWAY_ID}/compat", KeyName: "CLOUDFLARE_API_TOKEN",
		Source: "https://developers.cloudflare.com/ai-gateway/usage/chat-completion/: the path names account and gateway",
	},
	"cloudflare-workers-ai": {
		BaseURL: "https://api.cloudflare.com/client/v4/accounts/${CLOUDFLARE_ACCOUNT_ID}/ai/v1", KeyName: "CLOUDFLARE_API_TOKEN",
		Source: "https://developers.cloudflare.com/workers-ai/configuration/open-ai-compatibility/: the path names the account",
	},
	"daoxe": {
		BaseURL: "https://api.daoxe.com/v1", KeyName: "DAOXE_API_KEY",
		Source: "https://github.com/docker/docker-agent/blob/main/docs/providers/daoxe/index.md",
	},
	"deepseek": {
		BaseURL: "https://api.deepseek.com/v1", KeyName: "DEEPSEEK_API_KEY",
		Source: "https://api-docs.deepseek.com/: max_tokens, stream_options",
	},
	"fireworks": {
		BaseURL: "https://api.fireworks.ai/inference/v1", KeyName: "FIREWORKS_API_KEY",
		Source: "https://docs.fireworks.ai/tools-sdks/openai-compatibility",
	},
	"groq": {
		BaseURL: "https://api.groq.com/openai/v1", KeyName: "GROQ_API_KEY",
		Source: "https://console.groq.com/docs/openai",
	},
	"huggingface": {
		BaseURL: "https://router.huggingface.co/v1", KeyName: "HF_TOKEN",
		Source: "https://huggingface.co/docs/inference-providers",
	},
	"moonshot": {
		BaseURL: "https://api.moonshot.ai/v1", KeyName: "MOONSHOT_API_KEY",
		Source: "https://platform.moonshot.ai/docs/api/chat",
	},
	"nvidia": {
		BaseURL: "https://integrate.api.nvidia.com/v1", KeyName: "NVIDIA_API_KEY",
		Source: "https://docs.api.nvidia.com/nim/reference/llm-apis",
	},
	"openrouter": {
		BaseURL: "https://openrouter.ai/api/v1", KeyName: "OPENROUTER_API_KEY",
		Source: "https://openrouter.ai/docs/api-reference/overview",
	},
	"orcarouter": {
		BaseURL: "https://api.orcarouter.ai/v1", KeyName: "ORCAROUTER_API_KEY",
		Source: "https://github.com/docker/docker-agent/blob/main/docs/providers/orcarouter/index.md",
	},
	"ovhcloud": {
		BaseURL: "https://oai.endpoints.kepler.ai.cloud.ovh.net/v1", KeyName: "OVH_AI_ENDPOINTS_ACCESS_TOKEN",
		Source: "https://help.ovhcloud.com/csm/en-public-cloud-ai-endpoints-getting-started",
	},
	"together": {
		BaseURL: "https://api.together.xyz/v1", KeyName: "TOGETHER_API_KEY",
		Source: "https://docs.together.ai/docs/openai-api-compatibility",
	},
	"vercel": {
		BaseURL: "https://ai-gateway.vercel.sh/v1", KeyName: "AI_GATEWAY_API_KEY",
		Source: "https://vercel.com/docs/ai-gateway/openai-compat",
	},
	"ollama": {
		BaseURL: "http://localhost:11434/v1",
		Source:  "https://docs.ollama.com/api/openai-compatibility: stream_options.include_usage, reasoning_effort, max_tokens; the key is ignored",
		quirks:  quirks{anySchema: true},
	},
	"dmr": {
		BaseURL: "http://localhost:12434/engines/v1",
		Source:  "https://docs.docker.com/ai/model-runner/api-reference/: TCP port 12434 on the host, http://model-runner.docker.internal/engines/v1 in containers",
		quirks:  quirks{anySchema: true},
	},
}

// AliasNames lists the names of Aliases in order.
func AliasNames() []string {
	names := make([]string, 0, len(Aliases))
	for name := range Aliases {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}
