package zframe_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/build/tools/toolstest"
	"slipway/signing/payload/patch/zframe"
)

// rewrite takes a frame apart and gives its content and the frame put together
// again.
func rewrite(frame []byte) (content, again []byte, err error) {
	z, err := zframe.NewReader(bytes.NewReader(frame))
	if err != nil {
		return nil, nil, err
	}
	again = append(again, z.Header...)
	var w zframe.Writer
	var b zframe.Block
	recent, latest := zframe.StartOffsets, zframe.StartOffsets
	for {
		if err := z.Next(&b); err == io.EOF {
			break
		} else if err != nil {
			return nil, nil, err
		}
		start := len(content)
		if content, err = b.AppendContent(content, &latest); err != nil {
			return nil, nil, err
		}
		if len(content)-start != b.Size || len(content) > 1<<24 {
			return nil, nil, io.ErrShortBuffer
		}
		for _, s := range b.Sequences {
			short := recent
			offset := recent.Offset(s)
			if code := short.Code(offset, s.Literals); code > s.Code {
				return nil, nil, fmt.Errorf("offset %d: code %d, have %d", offset, code, s.Code)
			}
		}
		if again, err = w.Append(again, &b); err != nil {
			return nil, nil, err
		}
	}
	return content, append(again, z.Trailer...), nil
}

func contents() map[string][]byte {
	rnd := rand.New(rand.NewPCG(1, 1))
	text := make([]byte, 700_000)
	for i := range text {
		text[i] = "aaaabbbcdefgh \n"[rnd.IntN(15)]
		if i > 5000 && rnd.IntN(20) == 0 {
			i += copy(text[i:], text[rnd.IntN(i):][:rnd.IntN(200)])
		}
	}
	random := make([]byte, 300_000)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(random)
	return map[string][]byte{
		"empty": {}, "byte": {7}, "short": []byte("hello, hello, hello, hello"),
		"zeros": make([]byte, 500_000), "text": text, "random": random,
		"mixed": bytes.Join([][]byte{text[:200_000], random, make([]byte, 300_000), text[100_000:]}, nil),
		"few":   bytes.Repeat([]byte{0, 1, 0, 0, 2}, 9000),
	}
}

func TestRewrite(t *testing.T) {
	for name, content := range contents() {
		for _, level := range []zstd.EncoderLevel{1, 2, 3, 4} {
			for _, checksum := range []bool{true, false} {
				e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(level), zstd.WithEncoderCRC(checksum), zstd.WithZeroFrames(true))
				require.NoError(t, err)
				frame := e.EncodeAll(content, nil)
				got, again, err := rewrite(frame)
				require.NoError(t, err, "%s, %s", name, level)
				assert.True(t, bytes.Equal(content, got), "%s, %s: other content", name, level)
				assert.True(t, bytes.Equal(frame, again), "%s, %s: another frame", name, level)
				size, ok := zframe.Skim(append(frame, "more"...))
				assert.True(t, ok)
				assert.Equal(t, len(frame), size)
				require.NoError(t, e.Close())
			}
		}
	}
}

// The program zstd makes frames of all its levels.
func TestProgram(t *testing.T) {
	for name, content := range contents() {
		for _, level := range []string{"-1", "-3", "-9", "-16", "-19", "--fast=5", "-22"} {
			args := []string{"-c", level, "-T1"}
			if level == "-22" {
				args = append(args, "--ultra", "--long=27")
			}
			cmd := toolstest.Command(t, "zstd", args...)
			cmd.Stdin = bytes.NewReader(content)
			frame, err := cmd.Output()
			require.NoError(t, err)
			got, again, err := rewrite(frame)
			require.NoError(t, err, "%s %s", name, level)
			assert.True(t, bytes.Equal(content, got), "%s %s: other content", name, level)
			assert.True(t, bytes.Equal(frame, again), "%s %s: another frame", name, level)
		}
	}
}

func TestRefuses(t *testing.T) {
	e, err := zstd.NewWriter(nil)
	require.NoError(t, err)
	good := e.EncodeAll(contents()["text"][:3000], nil)
	for name, bad := range map[string][]byte{
		"empty": nil, "magic": []byte("PK\x03\x04 and so on"), "header": good[:5], "short": good[:len(good)-20],
		"dictionary":     append(append([]byte{}, good[:4]...), 0x21, 1, 9, 0, 0, 0, 0),
		"block type":     append(append([]byte{}, good[:4]...), 0x20, 9, 7, 0, 0),
		"block too long": append(append([]byte{}, good[:4]...), 0x20, 9, 1, 0xff, 0xff),
	} {
		_, _, err := rewrite(bad)
		assert.Error(t, err, name)
	}
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 0x10
		_, _, _ = rewrite(bad) // no panic
	}
}

// FuzzRead: what can be taken apart is what any reader of the format finds, and
// fits together again.
func FuzzRead(f *testing.F) {
	e, err := zstd.NewWriter(nil)
	require.NoError(f, err)
	for _, content := range contents() {
		f.Add(e.EncodeAll(content[:min(len(content), 4000)], nil))
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		content, again, err := rewrite(frame)
		if err != nil {
			return
		}
		if len(again) > len(frame) {
			t.Fatalf("%d bytes of a frame of %d", len(again), len(frame))
		}
		d, err := zstd.NewReader(nil, zstd.WithDecoderMaxMemory(1<<26), zstd.IgnoreChecksum(true))
		require.NoError(t, err)
		defer d.Close()
		// Only what is put together to the same is ever used.
		if !bytes.Equal(again, frame[:len(again)]) {
			return
		}
		if got, err := d.DecodeAll(again, nil); err == nil && !bytes.Equal(got, content) {
			t.Fatal("other content")
		}
	})
}
