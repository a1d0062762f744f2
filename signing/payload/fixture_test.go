package payload_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"slipway/signing/payload"
)

// testSigner signs with a key that exists in this test only.
type testSigner struct {
	id   string
	size int
	sign func(digest [32]byte) ([]byte, error)
	key  payload.Key
}

func (s *testSigner) KeyID() string      { return s.id }
func (s *testSigner) SignatureSize() int { return s.size }

func (s *testSigner) SignDigest(_ context.Context, digest [32]byte) ([]byte, error) {
	return s.sign(digest)
}

func newEd25519(id string, seed byte) *testSigner {
	private := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
	public := private.Public().(ed25519.PublicKey)
	return &testSigner{
		id: id, size: ed25519.SignatureSize,
		sign: func(d [32]byte) ([]byte, error) { return ed25519.Sign(private, d[:]), nil },
		key: payload.Key{ID: id, Verify: func(d [32]byte, signature []byte) bool {
			return len(signature) == ed25519.SignatureSize && ed25519.Verify(public, d[:], signature)
		}},
	}
}

// newECDSA has signatures of several lengths. They are deterministic.
func newECDSA(t testing.TB, id string) *testSigner {
	t.Helper()
	private, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), bytes.Repeat([]byte{7}, 32))
	require.NoError(t, err)
	return &testSigner{
		id: id, size: 72,
		sign: func(d [32]byte) ([]byte, error) { return private.Sign(nil, d[:], crypto.SHA256) },
		key: payload.Key{ID: id, Verify: func(d [32]byte, signature []byte) bool {
			return ecdsa.VerifyASN1(&private.PublicKey, d[:], signature)
		}},
	}
}

// disk is a partition in memory. It remembers whether anything was written.
type disk struct {
	mu      sync.Mutex
	b       []byte
	written bool
	synced  int
}

func newDisk(size int) *disk { return &disk{b: bytes.Repeat([]byte{0xee}, size)} }

func (d *disk) ReadAt(b []byte, off int64) (int, error) {
	return bytes.NewReader(d.b).ReadAt(b, off)
}

func (d *disk) WriteAt(b []byte, off int64) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.written = true
	if off < 0 || off+int64(len(b)) > int64(len(d.b)) {
		panic("write outside the partition")
	}
	return copy(d.b[off:], b), nil
}

func (d *disk) Sync() error { d.synced++; return nil }

// image makes a partition that has a little of everything: text, noise, and
// runs of zeros.
func image(blocks int, seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, blocks*payload.BlockSize)
	for at := 0; at < len(b); {
		n := min((1+r.IntN(40))*payload.BlockSize, len(b)-at)
		part := b[at : at+n]
		switch r.IntN(3) {
		case 0:
			for i := range part {
				part[i] = byte(r.Uint32())
			}
		case 1:
			word := []byte("the quick brown slipway ")
			for i := range part {
				part[i] = word[(i*7/5)%len(word)]
				if i%97 == 0 {
					part[i] = byte(r.Uint32())
				}
			}
		}
		at += n
	}
	copy(b[len(b)-4:], "FOOT")
	return b
}

func info() payload.Info {
	return payload.Info{
		Name: "slipway", Version: "4892.0.0", MinimumVersion: "4800.0.0", Architecture: "amd64",
		Channel: "alpha", RootHash: "00ff",
	}
}

// scratch is a Scratch in memory.
type scratch struct{ bytes.Buffer }

func (s *scratch) ReadAt(b []byte, off int64) (int, error) {
	return bytes.NewReader(s.Bytes()).ReadAt(b, off)
}

// write makes a payload.
func write(t testing.TB, m payload.Manifest, plan payload.Plan, signers ...payload.Signer) []byte {
	t.Helper()
	var out bytes.Buffer
	_, err := payload.Write(t.Context(), &out, &payload.WriteOptions{
		Manifest: m, Plan: plan, Scratch: new(scratch), Signers: signers,
	})
	require.NoError(t, err)
	return out.Bytes()
}

// full makes a full payload of an image.
func full(t testing.TB, img []byte, signers ...payload.Signer) []byte {
	t.Helper()
	fast, err := payload.Fast()
	require.NoError(t, err)
	plan := payload.PlanFull(t.Context(), bytes.NewReader(img), int64(len(img)), &payload.FullOptions{Compress: fast})
	return write(t, payload.Manifest{Info: info(), New: imageOf(img)}, plan, signers...)
}

func imageOf(b []byte) payload.Image {
	return payload.Image{Size: int64(len(b)), SHA256: sha256.Sum256(b)}
}

// delta makes a delta payload with every kind of operation. Its patches are
// XORed with the source, its hash tree is every block's digest.
func delta(t testing.TB, signers ...payload.Signer) (old, img, p []byte) {
	t.Helper()
	old = image(64, 5)
	tree := make([]byte, 0, payload.BlockSize)
	img = append(bytes.Clone(old[8*4096:20*4096]), make([]byte, 10*4096)...)
	img = append(img, old[2*4096:5*4096]...)
	img[22*4096+5] ^= 0x40
	text := bytes.Repeat([]byte("new file "), 4096)[:4*4096]
	noise := image(2, 99)
	img = append(append(img, text...), noise...)
	for at := 0; at < len(img); at += 4096 {
		sum := sha256.Sum256(img[at : at+4096])
		tree = append(tree, sum[:]...)
	}
	data := uint64(len(img) / 4096)
	img = append(append(img, tree...), make([]byte, 4096-len(tree))...)
	img = append(img, image(1, 3)...)

	fast, err := payload.Fast()
	require.NoError(t, err)
	packed, err := fast(t.Context(), text)
	require.NoError(t, err)
	patch := make([]byte, 3*4096)
	patch[5] = 0x40
	ops := []payload.Operation{
		{Type: payload.SourceCopy, Src: []payload.Extent{{8, 12}}, Dst: []payload.Extent{{0, 5}, {5, 7}}, SrcSHA256: sha256.Sum256(old[8*4096 : 20*4096])},
		{Type: payload.Zero, Dst: []payload.Extent{{12, 10}}},
		{Type: payload.Patch, Src: []payload.Extent{{2, 1}, {3, 2}}, Dst: []payload.Extent{{22, 3}}, Data: patch, SrcSHA256: sha256.Sum256(old[2*4096 : 5*4096])},
		{Type: payload.ReplaceZstd, Dst: []payload.Extent{{25, 4}}, Data: packed},
		{Type: payload.Replace, Dst: []payload.Extent{{29, 2}}, Data: noise},
		{Type: payload.Replace, Dst: []payload.Extent{{data + 1, 1}}, Data: image(1, 3)},
	}
	oldImage := imageOf(old)
	i := info()
	i.SourceVersion, i.SourceRootHash = "4891.0.0", "aa"
	m := payload.Manifest{
		Info: i, Old: &oldImage, New: imageOf(img), Timestamp: 1700000000,
		HashTree: &payload.HashTree{
			Data: payload.Extent{Start: 0, Blocks: data}, Tree: payload.Extent{Start: data, Blocks: 1}, Algorithm: "sha256", Salt: []byte{1, 2},
		},
	}
	return old, img, write(t, m, sequence(ops), signers...)
}

func sequence(ops []payload.Operation) payload.Plan {
	return func(yield func(payload.Operation, error) bool) {
		for _, op := range ops {
			if !yield(op, nil) {
				return
			}
		}
	}
}

// xorPatch is the patch function of these tests.
func xorPatch(dst io.Writer, newSize int64, old io.ReaderAt, oldSize int64, patch []byte) error {
	if newSize != oldSize || int64(len(patch)) != oldSize {
		return errors.New("patch of another size")
	}
	b := make([]byte, oldSize)
	if _, err := old.ReadAt(b, 0); err != nil {
		return err
	}
	for i := range b {
		b[i] ^= patch[i]
	}
	_, err := dst.Write(b)
	return err
}

// plainTree is the hash tree of these tests: the digests of the blocks.
func plainTree(_ context.Context, data io.ReaderAt, size int64, _ []byte, tree io.WriterAt) error {
	block, digests := make([]byte, 4096), make([]byte, 0, 4096)
	for at := int64(0); at < size; at += 4096 {
		if _, err := data.ReadAt(block, at); err != nil {
			return err
		}
		sum := sha256.Sum256(block)
		digests = append(digests, sum[:]...)
	}
	_, err := tree.WriteAt(append(digests, make([]byte, 4096-len(digests))...), 0)
	return err
}

// options apply to a new disk of the given size.
func options(size int, old []byte, keys ...payload.Key) (*payload.ApplyOptions, *disk) {
	d := newDisk(size)
	o := &payload.ApplyOptions{
		Keys: keys, Target: d, TargetSize: int64(size), HashTree: plainTree, Patch: xorPatch,
	}
	if old != nil {
		o.Source, o.SourceSize = bytes.NewReader(old), int64(len(old))
	}
	return o, d
}
