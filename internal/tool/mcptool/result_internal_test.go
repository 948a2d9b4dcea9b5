package mcptool

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"image"
	"image/png"
	"strings"
	"testing"
)

// TestImagesOfAServer: images and embedded ones go to the model, in order, beside the
// lines that name them; what only says that it is one stays a line.
func TestImagesOfAServer(t *testing.T) {
	var b bytes.Buffer
	if err := png.Encode(&b, image.NewGray(image.Rect(0, 0, 4, 4))); err != nil {
		t.Fatal(err)
	}
	whole := base64.StdEncoding.EncodeToString(b.Bytes())
	cut := base64.StdEncoding.EncodeToString(b.Bytes()[:b.Len()-14])
	res := parseResult(json.RawMessage(fmt.Sprintf(`{"content":[
		{"type":"text","text":"see"},
		{"type":"image","mimeType":"image/jpeg","data":%[1]q},
		{"type":"resource","resource":{"uri":"x:/y","mimeType":"image/png","blob":%[1]q}},
		{"type":"resource","resource":{"uri":"x:/z","mimeType":"application/pdf","blob":%[1]q}},
		{"type":"image","mimeType":"image/png","data":"aGVsbG8="},
		{"type":"image","mimeType":"image/png","data":"no base64"},
		{"type":"image","mimeType":"image/png","data":%[2]q}]}`, whole, cut)))
	if len(res.Images) != 2 {
		t.Fatalf("%d images", len(res.Images))
	}
	for _, p := range res.Images {
		if p.ImageURL.URL != "data:image/png;base64,"+whole { // it is what it is, whatever the server says
			t.Errorf("%.60s", p.ImageURL.URL)
		}
	}
	lines := strings.Split(res.Output, "\n")
	if len(lines) != 8 || lines[0] != "see" || !strings.HasPrefix(lines[1], "[image, image/jpeg, ") || !strings.HasPrefix(lines[7], "[the image above is not shown to the model") {
		t.Errorf("%q", lines)
	}
}
