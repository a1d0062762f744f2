package payload_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/signing/payload"
)

func FuzzHeader(f *testing.F) {
	_, _, p := delta(f, newEd25519("one", 1))
	f.Add(p[:24])
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < 24 {
			return
		}
		m, s, err := payload.ParseHeader(b[:24])
		if err == nil {
			assert.True(t, m > 0 && m <= payload.MaxManifest && s > 0 && s <= payload.MaxSignatures)
		}
	})
}

func FuzzManifest(f *testing.F) {
	one := newEd25519("one", 1)
	_, _, p := delta(f, one, newECDSA(f, "two"))
	for _, p := range [][]byte{p, full(f, image(40, 2), one)} {
		m, err := payload.InspectMetadata(bytes.NewReader(p))
		require.NoError(f, err)
		f.Add(payload.EncodeManifest(m.Manifest))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := payload.ParseManifest(b)
		if err != nil {
			return
		}
		// What was accepted makes sense and comes back the same.
		again, err := payload.ParseManifest(payload.EncodeManifest(m))
		require.NoError(t, err)
		if m.HashTree != nil && len(m.HashTree.Salt) == 0 {
			m.HashTree.Salt, again.HashTree.Salt = nil, nil
		}
		assert.Equal(t, m, again)
		written := int64(0)
		for i := range m.Operations {
			written += m.Operations[i].DstSize()
		}
		if m.HashTree != nil {
			written += int64(m.HashTree.Tree.Blocks) * payload.BlockSize
		}
		assert.Equal(t, m.New.Size, written, "every block once")
	})
}

func FuzzSignatures(f *testing.F) {
	for _, signers := range [][]payload.Signer{
		{newEd25519("one", 1)}, {newECDSA(f, "two"), newEd25519("one", 1)},
	} {
		m, err := payload.InspectMetadata(bytes.NewReader(full(f, image(2, 1), signers...)))
		require.NoError(f, err)
		f.Add(payload.EncodeSignatures(m.Signatures))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		signatures, err := payload.ParseSignatures(b)
		if err == nil {
			assert.Equal(t, b, append([]byte{}, payload.EncodeSignatures(signatures)...))
		}
	})
}

func FuzzUnpack(f *testing.F) {
	fast, err := payload.Fast()
	require.NoError(f, err)
	for _, blocks := range []int{1, 3} {
		b, err := fast(f.Context(), image(blocks, 4))
		require.NoError(f, err)
		f.Add(b, uint8(blocks))
	}
	f.Fuzz(func(t *testing.T, frame []byte, blocks uint8) {
		size := int(blocks) * 4096
		got, err := payload.Unpack(frame, size)
		if err == nil {
			assert.Len(t, got, size)
		}
	})
}

// FuzzApply applies signed nonsense: the manifest and data are the fuzzer's,
// the signature is right. Nothing is ever written outside the target (the disk
// panics), and what is called complete has the digest that was signed.
func FuzzApply(f *testing.F) {
	s := newEd25519("one", 1)
	old, img, p := delta(f, s)
	for _, p := range [][]byte{p, full(f, img, s)} {
		m, err := payload.InspectMetadata(bytes.NewReader(p))
		require.NoError(f, err)
		data := p[m.Size() : m.Size()+m.Manifest.SignaturesOffset]
		f.Add(payload.EncodeManifest(m.Manifest), data)
	}
	f.Fuzz(func(t *testing.T, manifest, data []byte) {
		if len(manifest) == 0 || len(manifest) > payload.MaxManifest {
			return
		}
		p := payload.Resign(t, manifest, data, s)
		o, d := options(len(img), old, s.key)
		m, err := payload.Apply(t.Context(), bytes.NewReader(p), o)
		if err == nil {
			assert.Equal(t, m.Manifest.New, imageOf(d.b))
		}
	})
}

// FuzzPayload applies whatever comes: without the key, nothing is written.
func FuzzPayload(f *testing.F) {
	s := newEd25519("one", 1)
	old, img, p := delta(f, s)
	f.Add(p)
	f.Add(full(f, image(3, 3), s))
	other := newEd25519("one", 2)
	f.Fuzz(func(t *testing.T, p []byte) {
		o, d := options(len(img), old, other.key)
		_, err := payload.Apply(t.Context(), bytes.NewReader(p), o)
		assert.Error(t, err)
		assert.False(t, d.written)
	})
}
