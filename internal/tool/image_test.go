package tool_test

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
	"image"
	"image/gif"
	"image/jpeg"
	"image/png"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-run/holdfast/internal/tool"
)

// noise is an image that does not compress.
func noise(w, h int) image.Image {
	r := rand.New(rand.NewPCG(1, 2))
	m := image.NewNRGBA(image.Rect(0, 0, w, h))
	for i := range m.Pix {
		m.Pix[i] = byte(r.Uint32())
	}
	return m
}

func encoded(t *testing.T, m image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, m); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// shown is the content that a model is shown.
func shown(t *testing.T, content []byte) (mediaType string, out []byte) {
	t.Helper()
	part, ok := tool.Image(content)
	if !ok {
		return "", nil
	}
	head, data, _ := strings.Cut(part.ImageURL.URL, ",")
	out, err := base64.StdEncoding.DecodeString(data)
	if err != nil || part.Type != "image_url" {
		t.Fatalf("%v: %s", err, head)
	}
	return strings.TrimSuffix(strings.TrimPrefix(head, "data:"), ";base64"), out
}

// TestImage: an image that providers take goes as it is, a larger one as a smaller
// picture, and what would have a provider refuse the conversation does not go.
func TestImage(t *testing.T) {
	small := encoded(t, noise(40, 30))
	var jpg, anim bytes.Buffer
	if err := jpeg.Encode(&jpg, noise(40, 30), nil); err != nil {
		t.Fatal(err)
	}
	if err := gif.Encode(&anim, noise(40, 30), nil); err != nil {
		t.Fatal(err)
	}
	webp := []byte("RIFF\x16\x00\x00\x00WEBPVP8 \x0a\x00\x00\x00\x00\x00\x00\x9d\x01\x2a\x28\x00\x1e\x00")
	wide := []byte("RIFF\x16\x00\x00\x00WEBPVP8X\x0a\x00\x00\x00\x00\x00\x00\x00\xff\x3f\x00\x1d\x00\x00")
	// A progressive JPEG may ask for any number of passes over all of it.
	bomb := append(slices.Clone(jpg.Bytes()[:jpg.Len()-2]), bytes.Repeat([]byte{0xff, 0xda, 0, 8, 1, 1, 0, 0, 63, 0}, 40)...)
	bomb = append(bomb, 0xff, 0xd9)
	broken := slices.Clone(small)
	broken[len(broken)/2] ^= 0xff
	for name, c := range map[string]struct {
		content []byte
		want    string
	}{
		"png": {small, "image/png"}, "jpeg": {jpg.Bytes(), "image/jpeg"}, "webp": {webp, "image/webp"},
		"webp that is too wide": {wide, ""}, "jpeg with many passes": {bomb, ""}, "png that is broken in the middle": {broken, ""},
		"nothing": {nil, ""}, "text": {[]byte("hello"), ""}, "png that broke off": {small[:len(small)-20], ""},
		"jpeg that broke off": {jpg.Bytes()[:jpg.Len()-20], ""}, "webp that broke off": {webp[:len(webp)-1], ""},
		"png without a size": {small[:20], ""}, "bmp": {append([]byte("BM"), make([]byte, 60)...), ""},
	} {
		mediaType, out := shown(t, c.content)
		if mediaType != c.want || mediaType != "" && !bytes.Equal(out, c.content) {
			t.Errorf("%s: %q, %d bytes of %d", name, mediaType, len(out), len(c.content))
		}
	}

	if mediaType, out := shown(t, anim.Bytes()); mediaType != "image/jpeg" || len(out) == 0 { // not every provider takes GIF
		t.Errorf("gif: %q, %d bytes", mediaType, len(out))
	}

	large := encoded(t, noise(700, 240))
	if len(large) <= tool.MaxImage {
		t.Fatalf("an image of %d bytes is not large", len(large))
	}
	mediaType, out := shown(t, large)
	cfg, err := jpeg.DecodeConfig(bytes.NewReader(out))
	if err != nil || mediaType != "image/jpeg" || len(out) > tool.MaxImage || cfg.Width < 300 || cfg.Width < 2*cfg.Height {
		t.Errorf("%s of %d bytes, %dx%d: %v", mediaType, len(out), cfg.Width, cfg.Height, err)
	}

	// Few bytes, a side that is too long; and more pixels than are decoded, of which the
	// head alone is looked at.
	if mediaType, _ := shown(t, encoded(t, image.NewGray(image.Rect(0, 0, 9000, 9)))); mediaType != "image/jpeg" {
		t.Errorf("a long side: %q", mediaType)
	}
	head := binary.BigEndian.AppendUint32([]byte("IHDR"), 60000)
	head = append(binary.BigEndian.AppendUint32(head, 1000), 8, 0, 0, 0, 0)
	vast := binary.BigEndian.AppendUint32([]byte("\x89PNG\r\n\x1a\n\x00\x00\x00\x0d"+string(head)), crc32.ChecksumIEEE(head))
	if cfg, err := png.DecodeConfig(bytes.NewReader(vast)); err != nil || cfg.Width != 60000 {
		t.Fatalf("%+v, %v", cfg, err)
	}
	if mediaType, _ := shown(t, vast); mediaType != "" {
		t.Errorf("too many pixels: %q", mediaType)
	}
}

// TestImagesOfAResult: a result has no more images than the log takes.
func TestImagesOfAResult(t *testing.T) {
	var res tool.Result
	one := encoded(t, noise(150, 150))
	n := 0
	for res.AddImage(one) {
		n++
	}
	if n < 1 || n > tool.MaxImages/len(one) || len(res.Images) != n {
		t.Errorf("%d images of %d bytes, %d kept", n, len(one), len(res.Images))
	}
	if res.AddImage([]byte("no image")) {
		t.Error("text is an image")
	}
}
