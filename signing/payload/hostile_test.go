package payload_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/signing/payload"
)

// apply applies a payload that must be refused.
func refused(t *testing.T, p []byte, o *payload.ApplyOptions) error {
	t.Helper()
	_, err := payload.Apply(t.Context(), bytes.NewReader(p), o)
	require.Error(t, err)
	assert.NotContains(t, err.Error(), "internal error")
	assert.NotContains(t, err.Error(), "\n")
	return err
}

// Every single byte counts: header, manifest, both messages of signatures.
func TestEveryFlippedByteIsRefused(t *testing.T) {
	s, e := newEd25519("one", 1), newECDSA(t, "two")
	old, img, p := delta(t, s, e)
	m, err := payload.InspectMetadata(bytes.NewReader(p))
	require.NoError(t, err)
	data := m.Size()
	tail := data + m.Manifest.SignaturesOffset
	r := rand.New(rand.NewPCG(1, 2))
	for at := range p {
		if int64(at) >= data && int64(at) < tail && at%61 != 0 {
			continue // data: see TestRandomFlips
		}
		for _, mask := range []byte{1, byte(1 + r.IntN(255))} {
			o, d := options(len(img), old, s.key, e.key)
			p[at] ^= mask
			_ = refused(t, p, o)
			p[at] ^= mask
			if int64(at) < data {
				require.False(t, d.written, "byte %d: written although the metadata is not what was signed", at)
			}
		}
	}
}

// What is written of damaged data is never called complete, and damaged data
// itself is never written.
func TestRandomFlips(t *testing.T) {
	s := newEd25519("one", 1)
	old, img, p := delta(t, s)
	r := rand.New(rand.NewPCG(3, 4))
	flips := 10_000
	if testing.Short() {
		flips = 500
	}
	for range flips {
		at, mask := r.IntN(len(p)), byte(1+r.IntN(255))
		o, d := options(len(img), old, s.key)
		o.Workers = 1
		p[at] ^= mask
		_, err := payload.Apply(t.Context(), bytes.NewReader(p), o)
		p[at] ^= mask
		require.Error(t, err, "byte %d", at)
		for b := 0; b < len(img); b += 4096 {
			got := d.b[b : b+4096]
			if !bytes.Equal(got, img[b:b+4096]) && !bytes.Equal(got, untouched) {
				require.Fail(t, "written what was not signed", "byte %d, block %d", at, b/4096)
			}
		}
	}
}

func TestEveryTruncationIsRefused(t *testing.T) {
	s := newEd25519("one", 1)
	old, img, p := delta(t, s)
	for n := range p {
		if n > 300 && n < len(p)-300 && n%97 != 0 {
			continue
		}
		o, _ := options(len(img), old, s.key)
		err := refused(t, p[:n], o)
		cut, ok := errors.AsType[*payload.CutError](err)
		require.True(t, ok, "%d: %v", n, err)
		assert.Equal(t, int64(n), cut.Offset)
		assert.EqualError(t, err, fmt.Sprintf("payload: cut short after %d bytes", n))
	}
}

// untouched is a block of the target that nothing was written to.
var untouched = bytes.Repeat([]byte{0xee}, 4096)

func TestRefusals(t *testing.T) {
	s, stranger := newEd25519("one", 1), newEd25519("two", 2)
	expired := s.key
	expired.Refused = "expired on 2026-01-31"
	impostor := stranger.key
	impostor.ID = "one"
	old, img, p := delta(t, s)
	broken := bytes.Clone(old)
	broken[3*4096] ^= 1
	m, err := payload.InspectMetadata(bytes.NewReader(p))
	require.NoError(t, err)
	cases := []struct {
		name    string
		p       []byte
		change  func(o *payload.ApplyOptions)
		want    string
		written bool
	}{
		{"empty", nil, nil, "payload: cut short after 0 bytes", false},
		{"no payload", make([]byte, 100), nil, `payload: magic is "\x00\x00\x00\x00", should be "CrAU"`, false},
		{"version 1", change(p, func(b []byte) { b[11] = 1 }), nil, "payload: major version 1, want 2", false},
		{
			"huge manifest", change(p, func(b []byte) { binary.BigEndian.PutUint64(b[12:], 1<<40) }), nil,
			"payload: manifest of 1099511627776 bytes, want 1 to 16777216", false,
		},
		{"huge signatures", change(p, func(b []byte) { b[20] = 0x7f }), nil, "payload: metadata signatures of 2130706511 bytes, want at most 16384", false},
		{"not signed", change(p, func(b []byte) { clear(b[20:24]) }), nil, "payload: not signed", false},
		{
			"wrong key", p, func(o *payload.ApplyOptions) { o.Keys = []payload.Key{stranger.key} },
			"payload metadata: not signed by a known key: signed by one; accepted: two", false,
		},
		{
			"no keys", p, func(o *payload.ApplyOptions) { o.Keys = nil },
			"payload metadata: not signed by a known key: signed by one; accepted: none", false,
		},
		{
			"expired key", p, func(o *payload.ApplyOptions) { o.Keys = []payload.Key{expired} },
			"payload metadata: signed by one, which is expired on 2026-01-31", false,
		},
		{
			"impostor", p, func(o *payload.ApplyOptions) { o.Keys = []payload.Key{impostor} },
			"payload metadata: bad signature by one: it was changed after it was signed", false,
		},
		{
			"other source", p, func(o *payload.ApplyOptions) { o.Source = bytes.NewReader(broken) },
			"payload operation 2 (PATCH): the source is not what the payload was made for", true,
		},
		{
			"size of source", p, func(o *payload.ApplyOptions) { o.SourceSize -= 4096 },
			fmt.Sprintf("payload: for a source of %d bytes, this one holds %d", len(old), len(old)-4096), false,
		},
		{"no source", p, func(o *payload.ApplyOptions) { o.Source = nil }, "payload: a delta, and there is no source", false},
		{
			"size of target", p, func(o *payload.ApplyOptions) { o.TargetSize += 4096 },
			fmt.Sprintf("payload: for a partition of %d bytes, the target holds %d", len(img), len(img)+4096), false,
		},
		{
			"downgrade", p, func(o *payload.ApplyOptions) {
				o.Accept = func(m *payload.Metadata) error {
					return m.Manifest.Info.Check(&payload.Host{Name: "slipway", Architecture: "amd64", Version: "4893.0.0"})
				}
			},
			"payload: version 4892.0.0 is older than 4893.0.0, which runs", false,
		},
		{"over-long", append(bytes.Clone(p), 0), nil, fmt.Sprintf("payload: goes on after its end at %d bytes", len(p)), true},
		{
			"order of data", change(p, func(b []byte) {
				a, z := b[m.Size():][:4096], b[m.Size()+4096:][:4096]
				swap := bytes.Clone(a)
				copy(a, z)
				copy(z, swap)
			}), nil, "payload operation 2 (PATCH): the data of PATCH is not what was signed", true,
		},
		{
			"disk that forgets", p, func(o *payload.ApplyOptions) { o.ReadBack = bytes.NewReader(make([]byte, len(img))) },
			"", true,
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			o, d := options(len(img), old, s.key)
			o.Workers = 1
			if c.change != nil {
				c.change(o)
			}
			err := refused(t, c.p, o)
			if c.want != "" {
				assert.EqualError(t, err, c.want)
			}
			if !c.written {
				assert.False(t, d.written, "refused before anything is written")
			}
		})
	}
}

func change(p []byte, f func([]byte)) []byte {
	b := bytes.Clone(p)
	f(b)
	return b
}

// A manifest that is signed and still makes no sense harms nothing.
func TestSignedNonsenseIsRefused(t *testing.T) {
	s := newEd25519("one", 1)
	old, img, p := delta(t, s)
	ext := func(e ...payload.Extent) []payload.Extent { return e }
	cases := []struct {
		name   string
		change func(m *payload.Manifest)
		want   string
	}{
		{"overlap", func(m *payload.Manifest) { m.Operations[1].Dst = ext(payload.Extent{Start: 11, Blocks: 11}) }, "operation 1: writes block 11, which is written already"},
		{"duplicate extent", func(m *payload.Manifest) {
			m.Operations[0].Dst = ext(payload.Extent{Start: 0, Blocks: 6}, payload.Extent{Start: 0, Blocks: 6})
		}, "operation 0: writes block 0, which is written already"},
		{"duplicate operation", func(m *payload.Manifest) { m.Operations = slices.Insert(m.Operations, 1, m.Operations[0]) }, "operation 1: writes block 0, which is written already"},
		{"order", func(m *payload.Manifest) { m.Operations[2], m.Operations[3] = m.Operations[3], m.Operations[2] }, "operation 2: data at 12288, should be at 0"},
		{"outside", func(m *payload.Manifest) {
			m.Operations[1].Dst = ext(payload.Extent{Start: 12, Blocks: 10}, payload.Extent{Start: 1 << 20, Blocks: 1})
		}, "operation 1: writes blocks 1048576+1 of a partition of 33"},
		{"overflow", func(m *payload.Manifest) {
			m.Operations[1].Dst = ext(payload.Extent{Start: math.MaxUint64 - 3, Blocks: 8})
		}, "operation 1: no or impossible destination"},
		{"sparse hole of version 1", func(m *payload.Manifest) {
			m.Operations[1].Dst = ext(payload.Extent{Start: math.MaxUint64, Blocks: 1})
		}, "operation 1: no or impossible destination"},
		{"empty extent", func(m *payload.Manifest) { m.Operations[1].Dst = ext(payload.Extent{Start: 12}) }, "operation 1: no or impossible destination"},
		{"no destination", func(m *payload.Manifest) { m.Operations[1].Dst = nil }, "operation 1: no or impossible destination"},
		{"gap", func(m *payload.Manifest) { m.Operations[1].Dst[0].Blocks-- }, "nothing writes block 21"},
		{"source outside", func(m *payload.Manifest) { m.Operations[0].Src = ext(payload.Extent{Start: 60, Blocks: 12}) }, "operation 0: reads blocks 60+12 of a source of 64"},
		{"source of another size", func(m *payload.Manifest) { m.Operations[0].Src[0].Blocks = 11 }, "operation 0: 11 source blocks for 12"},
		{"data for a copy", func(m *payload.Manifest) { m.Operations[0].DataSize = 1 }, "operation 0: SOURCE_COPY with 1 bytes of data"},
		{"no data", func(m *payload.Manifest) { m.Operations[3].DataSize = 0 }, "operation 3: REPLACE_ZSTD with 0 bytes of data"},
		{"too much data", func(m *payload.Manifest) { m.Operations[2].DataSize = payload.MaxData + 1 }, "operation 2: 16777217 bytes of data, at most 16777216 are allowed"},
		{"unknown type", func(m *payload.Manifest) { m.Operations[1].Type = 9 }, "operation 1: type 9 is not supported"},
		{"huge partition", func(m *payload.Manifest) { m.New.Size = 1 << 60 }, "partition of 1152921504606846976 bytes, want a multiple of 4096 up to 8589934592"},
		{"odd partition", func(m *payload.Manifest) { m.New.Size++ }, "partition of 135169 bytes, want a multiple of 4096 up to 8589934592"},
		{"signatures elsewhere", func(m *payload.Manifest) { m.SignaturesOffset++ }, "signatures at 24605, data ends at 24604"},
		{"no source image", func(m *payload.Manifest) { m.Old = nil }, "operation 0: reads blocks 8+12 of a source of 0"},
		{"tree algorithm", func(m *payload.Manifest) { m.HashTree.Algorithm = "md5" }, `hash tree of "md5" with 2 bytes of salt`},
		{"tree over its data", func(m *payload.Manifest) { m.HashTree.Tree.Start = 3 }, "hash tree inside its own data"},
		{"tree over the footer", func(m *payload.Manifest) { m.HashTree.Tree.Start = 32 }, "hash tree: writes block 32, which is written already"},
		{"tree too small", func(m *payload.Manifest) { m.HashTree.Data.Blocks = 200 }, "hash tree over blocks 0+200 of 33"},
		{"versions differ", func(m *payload.Manifest) {}, ""},
	}
	meta, err := payload.InspectMetadata(bytes.NewReader(p))
	require.NoError(t, err)
	data := p[meta.Size() : meta.Size()+meta.Manifest.SignaturesOffset]
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			meta, err := payload.InspectMetadata(bytes.NewReader(p))
			require.NoError(t, err)
			c.change(meta.Manifest)
			wire := payload.EncodeManifest(meta.Manifest)
			if c.want == "" {
				wire = bytes.Replace(wire, []byte("4892.0.0"), []byte("4892.0.1"), 1)
				c.want = `partition of version "4892.0.1" in a payload of version "4892.0.0"`
			}
			o, d := options(len(img), old, s.key)
			err = refused(t, payload.Resign(t, wire, data, s), o)
			assert.EqualError(t, err, "payload manifest: "+c.want)
			assert.False(t, d.written)
		})
	}
	o, d := options(len(img), old, s.key)
	_, err = payload.Apply(t.Context(), bytes.NewReader(payload.Resign(t, payload.EncodeManifest(meta.Manifest), data, s)), o)
	require.NoError(t, err, "without a change it is accepted")
	assert.True(t, bytes.Equal(img, d.b))
}

// A signed operation whose content is not what it says writes nothing else.
func TestSignedContentOfAnotherSize(t *testing.T) {
	s := newEd25519("one", 1)
	fast, err := payload.Fast()
	require.NoError(t, err)
	pack := func(n int) []byte {
		b, err := fast(t.Context(), make([]byte, n))
		require.NoError(t, err)
		return b
	}
	four := pack(4 * 4096)
	window := append([]byte{0x28, 0xb5, 0x2f, 0xfd, 0x84, 0xa8}, binary.LittleEndian.AppendUint32(nil, 4*4096)...)
	window = append(window, 0x03, 0x00, 0x02, 0x00)
	for name, frame := range map[string][]byte{
		"short": pack(3 * 4096), "long": pack(5 * 4096), "two frames": append(bytes.Clone(four), pack(4096)...),
		"trailing": append(bytes.Clone(four), 0), "cut": four[:len(four)-1], "noise": []byte("noise noise noise"),
		"skippable": {0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 0}, "window": window,
	} {
		t.Run(name, func(t *testing.T) {
			img := make([]byte, 4*4096)
			ops := []payload.Operation{{Type: payload.ReplaceZstd, Dst: []payload.Extent{{Start: 0, Blocks: 4}}, Data: frame}}
			p := write(t, payload.Manifest{Info: info(), New: imageOf(img)}, sequence(ops), s)
			o, d := options(len(img), nil, s.key)
			err := refused(t, p, o)
			assert.Contains(t, err.Error(), "payload operation 0 (REPLACE_ZSTD): zstd frame")
			assert.False(t, d.written)
		})
	}
}

func TestPatchOfAnotherSize(t *testing.T) {
	s := newEd25519("one", 1)
	old, img, p := delta(t, s)
	for name, n := range map[string]int{"short": 3*4096 - 1, "long": 3*4096 + 1} {
		t.Run(name, func(t *testing.T) {
			o, d := options(len(img), old, s.key)
			o.Workers = 1
			o.Patch = func(dst io.Writer, _ int64, _ io.ReaderAt, _ int64, _ []byte) error {
				_, err := dst.Write(make([]byte, n))
				return err
			}
			err := refused(t, p, o)
			assert.Contains(t, err.Error(), "payload operation 2 (PATCH): patch: ")
			assert.True(t, bytes.Equal(untouched, d.b[25*4096:26*4096]), "nothing behind its blocks")
		})
	}
}

func TestCheck(t *testing.T) {
	host := payload.Host{Name: "slipway", Architecture: "amd64", Version: "4891.0.0", RootHash: "aa"}
	from := info()
	from.SourceVersion, from.SourceRootHash = "4891.0.0", "aa"
	cases := []struct {
		name   string
		change func(i *payload.Info, h *payload.Host)
		want   string
	}{
		{"fine", func(*payload.Info, *payload.Host) {}, ""},
		{"same version", func(_ *payload.Info, h *payload.Host) { h.Version = "4892.0.0" }, "payload: leads from version 4891.0.0 to 4892.0.0, this machine runs 4892.0.0"},
		{"other system", func(_ *payload.Info, h *payload.Host) { h.Name = "other" }, `payload: of "slipway", this machine runs "other"`},
		{"other machine", func(_ *payload.Info, h *payload.Host) { h.Architecture = "arm64" }, `payload: for "amd64", this machine is "arm64"`},
		{"development", func(i *payload.Info, _ *payload.Host) { i.Development = true }, "payload: version 4892.0.0 is signed with a development key"},
		{"too old to update", func(_ *payload.Info, h *payload.Host) { h.Version = "4799.12.0" }, "payload: version 4892.0.0 replaces 4800.0.0 or newer, this machine runs 4799.12.0"},
		{"downgrade", func(_ *payload.Info, h *payload.Host) { h.Version = "4892.0.1" }, "payload: version 4892.0.0 is older than 4892.0.1, which runs"},
		{"numbers, not text", func(_ *payload.Info, h *payload.Host) { h.Version = "10000.0.0" }, "payload: version 4892.0.0 is older than 10000.0.0, which runs"},
		{"below the floor", func(_ *payload.Info, h *payload.Host) { h.LowestVersion, h.Downgrade = "4892.0.1", true }, "payload: version 4892.0.0, this machine accepts 4892.0.1 or newer"},
		{"other build", func(_ *payload.Info, h *payload.Host) { h.RootHash = "bb" }, "payload: leads from another build of version 4891.0.0: root hash aa, this machine runs bb"},
		{"no version", func(i *payload.Info, _ *payload.Host) { i.Version = "1.x.2" }, `version "1.x.2" is not MAJOR.MINOR.PATCH`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			i, h := from, host
			c.change(&i, &h)
			err := i.Check(&h)
			if c.want == "" {
				assert.NoError(t, err)
				return
			}
			assert.EqualError(t, err, c.want)
		})
	}
}

// Any small input costs little, whatever it announces.
func TestSmallInputCostsLittle(t *testing.T) {
	s := newEd25519("one", 1)
	old, img, p := delta(t, s)
	meta, err := payload.InspectMetadata(bytes.NewReader(p))
	require.NoError(t, err)
	sample := payload.EncodeManifest(meta.Manifest)
	many := bytes.Repeat([]byte{0x42, 0x0a, 0x08, 0x06, 0x32, 0x04, 0x08, 0x00, 0x10, 0x01, 0x18, 0x00}, 80_000) // ZERO operations
	manifests := map[string][]byte{
		"announces":             append(bytes.Clone(p[:12]), 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0, 0, 0x3f, 0xff),
		"many operations":       payload.Resign(t, append([]byte{0x6a, 0x80, 0xca, 0x3a}, many...), nil, s),
		"many empty operations": payload.Resign(t, append([]byte{0x6a, 0x80, 0x80, 0x40}, bytes.Repeat([]byte{0x42, 0}, 1<<19)...), nil, s),
		"many extents":          payload.Resign(t, append([]byte{0x6a, 0xf4, 0x80, 0x40, 0x42, 0xf0, 0x80, 0x40, 0x08, 0x06}, bytes.Repeat([]byte{0x32, 0x04, 0x08, 0x00, 0x10, 0x01}, 1<<17)...), nil, s),
		"many partitions":       payload.Resign(t, bytes.Repeat([]byte{0x6a, 0}, 1<<19), nil, s),
		"many signatures":       append(append(append(bytes.Clone(p[:12]), 0, 0, 0, 0, 0, 0, 0, 1), 0, 0, 0x40, 0), bytes.Repeat([]byte{0x0a, 0}, 1<<13)...),
		"the real one":          payload.Resign(t, sample, nil, s),
	}
	for name, p := range manifests {
		t.Run(name, func(t *testing.T) {
			require.LessOrEqual(t, len(p), 1<<20+1000)
			o, _ := options(len(img), old, s.key)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_ = refused(t, p, o)
			runtime.ReadMemStats(&after)
			assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(128<<20), "everything allocated, freed or not")
		})
	}
}
