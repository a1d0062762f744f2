package payload

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// Compressor packs src, at most MaxReplace bytes, into one Zstandard frame
// that states its content size. It must be deterministic, and safe for
// concurrent use. What it answers is believed; see [Checked].
type Compressor func(ctx context.Context, src []byte) ([]byte, error)

// Fast is the Compressor for development: half a second of one processor for
// 100 MB, and a third more bytes than zstd -19.
func Fast() (Compressor, error) {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderCRC(false),
		zstd.WithSingleSegment(true), zstd.WithWindowSize(MaxReplace))
	if err != nil {
		return nil, fmt.Errorf("internal error: zstd encoder: %w", err)
	}
	return func(ctx context.Context, src []byte) ([]byte, error) {
		return e.EncodeAll(src, make([]byte, 0, len(src))), ctx.Err()
	}, nil
}

// Checked is a Compressor that is believed once its answer has been unpacked,
// as a foreign program should be.
func Checked(compress Compressor) Compressor {
	unpackers := sync.Pool{New: func() any { return new(unpacker) }}
	return func(ctx context.Context, src []byte) ([]byte, error) {
		packed, err := compress(ctx, src)
		if err != nil {
			return nil, err
		}
		u := unpackers.Get().(*unpacker)
		defer unpackers.Put(u)
		got, err := u.unpack(packed, len(src))
		if err == nil && !bytes.Equal(got, src) {
			err = errors.New("another content")
		}
		if err != nil {
			return nil, fmt.Errorf("the compressor's answer unpacks to: %w", err)
		}
		return packed, nil
	}
}
