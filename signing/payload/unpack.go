package payload

import (
	"errors"
	"fmt"

	"github.com/klauspost/compress/zstd"
)

// unpacker unpacks the frames of REPLACE_ZSTD into one buffer that it keeps.
// The zero value is ready; it is for one goroutine.
type unpacker struct {
	d   *zstd.Decoder
	buf []byte
}

// unpack gives the content of the frame, which must be size bytes, at most
// MaxReplace, and must say so itself. It is valid until the next call.
func (u *unpacker) unpack(frame []byte, size int) ([]byte, error) {
	// The header is checked before the decoder may reserve memory by it.
	var h zstd.Header
	switch err := h.Decode(frame); {
	case err != nil:
		return nil, fmt.Errorf("zstd frame: %w", err)
	case h.Skippable || !h.HasFCS || h.FrameContentSize != uint64(size):
		return nil, fmt.Errorf("zstd frame of %d bytes, want %d", h.FrameContentSize, size)
	case h.DictionaryID != 0:
		return nil, errors.New("zstd frame needs a dictionary")
	case !h.SingleSegment && h.WindowSize > MaxReplace:
		return nil, fmt.Errorf("zstd frame with a window of %d bytes, at most %d are allowed", h.WindowSize, MaxReplace)
	}
	if u.d == nil {
		d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecodeAllCapLimit(true), zstd.WithDecoderMaxWindow(MaxReplace))
		if err != nil {
			return nil, fmt.Errorf("internal error: zstd decoder: %w", err)
		}
		u.d = d
	}
	// The decoder is fastest if it may write a little over the end.
	const slack = 16
	if cap(u.buf) < size+slack {
		u.buf = make([]byte, 0, size+slack)
	}
	got, err := u.d.DecodeAll(frame, u.buf[:0:size+slack])
	if err != nil {
		return nil, fmt.Errorf("zstd frame: %w", err)
	}
	if len(got) != size {
		return nil, fmt.Errorf("zstd frame of %d bytes, want %d", len(got), size)
	}
	return got, nil
}

func (u *unpacker) close() {
	if u.d != nil {
		u.d.Close()
	}
}
