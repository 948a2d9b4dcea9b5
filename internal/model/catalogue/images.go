package catalogue

import "regexp"

// takesImages says by provider which models of the table take images, those that a
// tool answered included. What no pattern names gets none: a request with an image is
// refused by a model that takes none, and with it the whole conversation.
//
//   - https://platform.claude.com/docs/en/build-with-claude/vision: every model since Claude 3
//   - https://ai.google.dev/gemini-api/docs/image-understanding: every Gemini model of the table
//   - https://developers.openai.com/api/docs/models: the column of modalities
//   - https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ToolResultContentBlock.html:
//     images in answers of tools are for Nova and Claude alone; Nova Micro reads text only
//   - https://docs.mistral.ai/capabilities/vision
//   - https://docs.x.ai/docs/models
var takesImages = map[string]*regexp.Regexp{
	"anthropic":      regexp.MustCompile(`^claude-`),
	"google":         regexp.MustCompile(`^gemini-`),
	"openai":         regexp.MustCompile(`^(gpt-4o|chatgpt-4o|gpt-4\.1|gpt-4\.5|gpt-5|gpt-6|o1$|o1-pro|o3$|o3-pro|o4-mini)`),
	"amazon-bedrock": regexp.MustCompile(`^(global\.)?(anthropic\.claude-|amazon\.nova-(2-lite|lite|pro|premier))`),
	"mistral":        regexp.MustCompile(`^(pixtral-|mistral-medium-(3|latest)|mistral-small-(2603|3\.|latest)|mistral-large-2512)`),
	"xai":            regexp.MustCompile(`^grok-(2-vision|4)`),
}

// images reports whether the model of a row takes images: what a file says of it, or
// else the table.
func (r *row) images() bool {
	if r.modalities != nil {
		for _, m := range r.modalities {
			if m == "image" {
				return true
			}
		}
		return false
	}
	p, ok := takesImages[r.Provider]
	return ok && p.MatchString(r.ID)
}
