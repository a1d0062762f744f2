package patch

import (
	"bytes"

	"slipway/signing/payload/patch/zframe"
)

// minPacked is the smallest frame that deserves a patch of its own, in bytes.
const minPacked = 512 << 10

// Frames gives where the large Zstandard frames in data start and end. What a
// frame is taken apart into takes memory, so data that has several is better
// patched in parts, one for each.
func Frames(data []byte) (frames [][2]int) {
	for at := 0; ; {
		i := bytes.Index(data[at:], []byte(zframe.Magic))
		if i < 0 {
			return frames
		}
		at += i
		if size, ok := zframe.Skim(data[at:]); ok && size >= minPacked {
			frames = append(frames, [2]int{at, at + size})
			at += size
		} else {
			at += len(zframe.Magic)
		}
	}
}
