package tool

import (
	"bytes"
	"encoding/base64"
	"image"
	"image/color"
	"image/draw"
	_ "image/gif" // registers the decoder
	"image/jpeg"
	_ "image/png" // registers the decoder
	"net/http"

	holdfast "github.com/holdfast-run/holdfast"
)

const (
	// MaxImage is the most bytes of an image that go to the model as they are. A larger
	// one goes as a smaller picture of the same.
	MaxImage = 180 << 10
	// MaxImages is the most bytes that the images of one result have together.
	MaxImages = 180 << 10

	// maxImageSide is the most pixels of a side that all providers take, however many
	// images there are; the API of Anthropic refuses more, and with it the whole
	// conversation (https://platform.claude.com/docs/en/build-with-claude/vision).
	maxImageSide = 2000
	// maxImagePixels and maxScans bound what an image takes to decode: memory, and the
	// passes over it that a progressive JPEG may ask for. A screen of 4K is below.
	maxImagePixels = 9 << 20
	maxScans       = 32
	// maxAttempts is how many images of one result are looked at.
	maxAttempts = 20
	// smallSide is the longest side of an image that was made smaller; providers scale
	// down what is larger.
	smallSide = 1568
	leastSide = 64
)

// Image makes of a tool's image what a model can be shown. ok is false if no model
// can: it is none of PNG, JPEG, GIF and WebP, whatever its sender says, broken off, or
// too large to be made smaller. A conversation keeps its images, and one that a
// provider refuses would end it for good.
func Image(content []byte) (part holdfast.ContentPart, ok bool) {
	mediaType := http.DetectContentType(content)
	switch mediaType {
	case "image/png", "image/jpeg", "image/gif":
		if mediaType == "image/jpeg" && bytes.Count(content, []byte{0xff, 0xda}) > maxScans {
			return part, false
		}
		decoding <- struct{}{}
		defer func() { <-decoding }()
		cfg, _, err := image.DecodeConfig(bytes.NewReader(content))
		if err != nil || cfg.Width < 1 || cfg.Height < 1 || cfg.Width > maxImagePixels/cfg.Height || !ended(mediaType, content) {
			return part, false
		}
		full, _, err := image.Decode(bytes.NewReader(content))
		if err != nil {
			return part, false
		}
		// Not every provider takes GIF.
		if mediaType != "image/gif" && len(content) <= MaxImage && cfg.Width <= maxImageSide && cfg.Height <= maxImageSide {
			break
		}
		if content = smaller(full); content == nil {
			return part, false
		}
		mediaType = "image/jpeg"
	case "image/webp":
		// The length of the file without its first eight bytes is in it
		// (https://developers.google.com/speed/webp/docs/riff_container).
		if len(content) > MaxImage || len(content) < 12 ||
			int64(content[4])|int64(content[5])<<8|int64(content[6])<<16|int64(content[7])<<24 > int64(len(content))-8 {
			return part, false
		}
		if w, h := webpSize(content); w < 1 || h < 1 || w > maxImageSide || h > maxImageSide {
			return part, false
		}
	default:
		return part, false
	}
	return holdfast.ContentPart{Type: "image_url", ImageURL: &holdfast.ImageURL{
		URL: "data:" + mediaType + ";base64," + base64.StdEncoding.EncodeToString(content),
	}}, true
}

// decoding has a place for the one image that is decoded at a time: a picture takes a
// hundred times the memory of its file.
var decoding = make(chan struct{}, 1)

// webpSize reads the size of a WebP, 0 if it has none
// (https://developers.google.com/speed/webp/docs/riff_container).
func webpSize(content []byte) (w, h int) {
	if len(content) < 30 {
		return 0, 0
	}
	at := func(i, n int) (v int) {
		for k := range n {
			v |= int(content[i+k]) << (8 * k)
		}
		return v
	}
	switch string(content[12:16]) {
	case "VP8 ":
		if at(23, 3) != 0x2a019d { // the start code of a key frame
			return 0, 0
		}
		return at(26, 2) & 0x3fff, at(28, 2) & 0x3fff
	case "VP8L":
		bits := at(21, 4)
		return bits&0x3fff + 1, bits>>14&0x3fff + 1
	case "VP8X":
		return at(24, 3) + 1, at(27, 3) + 1
	}
	return 0, 0
}

// AddImage adds an image to what the model sees of a result. It reports false if the
// result has no room for it, or no model could see it.
func (r *Result) AddImage(content []byte) bool {
	if r.tried++; r.tried > maxAttempts {
		return false
	}
	part, ok := Image(content)
	return ok && r.Join([]holdfast.ContentPart{part})
}

// Join adds images that [Image] made, all or none. It reports false if there is no room.
func (r *Result) Join(images []holdfast.ContentPart) bool {
	all := append(r.Images[:len(r.Images):len(r.Images)], images...)
	total := 0
	for i := range all {
		total += len(all[i].ImageURL.URL)
	}
	if total > base64.StdEncoding.EncodedLen(MaxImages)+len(all)*64 {
		return false
	}
	r.Images = all
	return true
}

// ended reports whether an image has its end.
func ended(mediaType string, content []byte) bool {
	switch mediaType {
	case "image/png":
		return bytes.Contains(content, []byte("IEND"))
	case "image/jpeg":
		return bytes.Contains(content, []byte{0xff, 0xd9})
	}
	return bytes.IndexByte(content, 0x3b) >= 0
}

// smaller is an image as a JPEG of at most MaxImage bytes, nil if there is none.
func smaller(full image.Image) []byte {
	b := full.Bounds()
	// What is transparent would become black.
	flat := image.NewRGBA(image.Rect(0, 0, b.Dx(), b.Dy()))
	draw.Draw(flat, flat.Bounds(), image.NewUniform(color.White), image.Point{}, draw.Src)
	draw.Draw(flat, flat.Bounds(), full, b.Min, draw.Over)
	first := min(smallSide, max(b.Dx(), b.Dy()))
	for side := first; side == first || side >= leastSide; side = side * 3 / 4 {
		var out bytes.Buffer
		if err := jpeg.Encode(&out, scaled(flat, side), &jpeg.Options{Quality: 80}); err != nil {
			return nil
		}
		if out.Len() <= MaxImage {
			return out.Bytes()
		}
	}
	return nil
}

// scaled is an image whose longer side has that many pixels: each is the mean of those
// in its place.
func scaled(from *image.RGBA, side int) *image.RGBA {
	w, h := from.Rect.Dx(), from.Rect.Dy()
	long := max(w, h)
	if long <= side {
		return from
	}
	tw, th := max(w*side/long, 1), max(h*side/long, 1)
	to := image.NewRGBA(image.Rect(0, 0, tw, th))
	for y := range th {
		y0, y1 := y*h/th, max((y+1)*h/th, y*h/th+1)
		for x := range tw {
			x0, x1 := x*w/tw, max((x+1)*w/tw, x*w/tw+1)
			var sum [3]int
			for yy := y0; yy < y1; yy++ {
				row := from.Pix[yy*from.Stride+4*x0 : yy*from.Stride+4*x1]
				for i := 0; i < len(row); i += 4 {
					sum[0] += int(row[i])
					sum[1] += int(row[i+1])
					sum[2] += int(row[i+2])
				}
			}
			n := (y1 - y0) * (x1 - x0)
			at := to.PixOffset(x, y)
			to.Pix[at], to.Pix[at+1], to.Pix[at+2], to.Pix[at+3] = uint8(sum[0]/n), uint8(sum[1]/n), uint8(sum[2]/n), 255
		}
	}
	return to
}
