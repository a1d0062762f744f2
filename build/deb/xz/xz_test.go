package xz_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	other "github.com/therootcompany/xz"
	writer "github.com/ulikunitz/xz"
	"github.com/ulikunitz/xz/lzma"

	"slipway/build/deb/xz"
)

const maxDict = 64 << 20

// decode reads a whole file.
func decode(file []byte) ([]byte, error) {
	r, err := xz.NewReader(bytes.NewReader(file), maxDict)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

// encode writes a file by another's encoder.
func encode(t testing.TB, c writer.WriterConfig, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := c.NewWriter(&b)
	require.NoError(t, err)
	_, err = w.Write(data)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return b.Bytes()
}

// prose is text with much repetition, noise is none at all, and mixed is both
// in turn, long matches included.
func prose(n int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	words := strings.Fields("the slot holds a file system whose hash tree is signed by a key and so on")
	var b bytes.Buffer
	for b.Len() < n {
		b.WriteString(words[r.IntN(len(words))])
		b.WriteByte(" \n,."[r.IntN(4)])
	}
	return b.Bytes()[:n]
}

func noise(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{}).Read(b)
	return b
}

func mixed(n int) []byte {
	var b bytes.Buffer
	for b.Len() < n {
		b.Write(prose(50_000))
		b.Write(noise(70_000))
		b.Write(make([]byte, 30_000))
		b.Write(bytes.Repeat([]byte("abc"), 5000))
	}
	return b.Bytes()[:n]
}

func TestRead(t *testing.T) {
	samples := map[string][]byte{
		"empty": nil, "one": []byte("x"), "prose": prose(100_000), "noise": noise(100_000),
		"mixed": mixed(400_000), "zeros": make([]byte, 500_000),
	}
	configs := map[string]writer.WriterConfig{
		"default":       {},
		"small window":  {DictCap: 256 << 10},
		"blocks":        {BlockSize: 40_001},
		"CRC32":         {CheckSum: writer.CRC32},
		"SHA-256":       {CheckSum: writer.SHA256},
		"no check":      {NoCheckSum: true},
		"lc 0 lp 4":     {Properties: &lzma.Properties{LC: 0, LP: 4, PB: 0}},
		"lc 4 pb 4":     {Properties: &lzma.Properties{LC: 4, LP: 0, PB: 4}},
		"lc 1 lp 2":     {Properties: &lzma.Properties{LC: 1, LP: 2, PB: 3}},
		"small, lp, pb": {DictCap: 256 << 10, Properties: &lzma.Properties{LC: 2, LP: 2, PB: 4}},
	}
	for config, c := range configs {
		for sample, data := range samples {
			t.Run(config+"/"+sample, func(t *testing.T) {
				file := encode(t, c, data)
				got, err := decode(file)
				require.NoError(t, err)
				assert.True(t, bytes.Equal(data, got))
			})
		}
	}
}

func TestReadByteByByte(t *testing.T) {
	data := mixed(200_000)
	file := encode(t, writer.WriterConfig{BlockSize: 90_000}, data)
	r, err := xz.NewReader(iotest.OneByteReader(bytes.NewReader(file)), maxDict)
	require.NoError(t, err)
	got, err := io.ReadAll(iotest.OneByteReader(r))
	require.NoError(t, err)
	assert.True(t, bytes.Equal(data, got))
	n, err := r.Read(make([]byte, 1))
	assert.Zero(t, n)
	assert.Equal(t, io.EOF, err)
}

func TestStreams(t *testing.T) {
	a := encode(t, writer.WriterConfig{CheckSum: writer.SHA256}, []byte("first "))
	b := encode(t, writer.WriterConfig{}, []byte("second"))
	pad := make([]byte, 4)
	got, err := decode(bytes.Join([][]byte{a, b, a}, nil))
	require.NoError(t, err)
	assert.Equal(t, "first secondfirst ", string(got))
	got, err = decode(bytes.Join([][]byte{a, pad, pad, b, pad}, nil))
	require.NoError(t, err)
	assert.Equal(t, "first second", string(got))

	_, err = decode(bytes.Join([][]byte{a, pad[:3]}, nil))
	assert.Equal(t, xz.ErrCorrupt, err)
	_, err = decode(bytes.Join([][]byte{a, []byte("junk")}, nil))
	assert.Equal(t, xz.ErrFormat, err)
}

// TestDamage cuts a file at every length and flips a bit in every byte.
func TestDamage(t *testing.T) {
	data := append(prose(1500), noise(300)...)
	for _, c := range []writer.WriterConfig{{}, {CheckSum: writer.SHA256, BlockSize: 700}} {
		file := encode(t, c, data)
		for n := range file {
			_, err := decode(file[:n])
			require.ErrorIs(t, err, io.ErrUnexpectedEOF, "cut at %d of %d", n, len(file))
		}
		for i := range file {
			for _, bit := range []byte{0x01, 0x80} {
				bad := bytes.Clone(file)
				bad[i] ^= bit
				_, err := decode(bad)
				require.Error(t, err, "byte %d", i)
			}
		}
	}
	failure := errors.New("disk on fire")
	r, err := xz.NewReader(io.MultiReader(bytes.NewReader(encode(t, writer.WriterConfig{}, data)[:500]),
		iotest.ErrReader(failure)), maxDict)
	if err == nil {
		_, err = io.ReadAll(r)
	}
	assert.ErrorIs(t, err, failure)
}

func TestRefused(t *testing.T) {
	_, err := decode([]byte("PK\x03\x04 not xz at all"))
	assert.EqualError(t, err, "xz: not in xz format")
	_, err = xz.NewReader(bytes.NewReader(encode(t, writer.WriterConfig{DictCap: 8 << 20}, []byte("x"))), 1<<20)
	assert.EqualError(t, err, "xz: dictionary is larger than allowed")
}

// TestLongHistory goes through the window several times, with matches as far
// back as the dictionary reaches.
func TestLongHistory(t *testing.T) {
	unit := noise(60_000)
	data := bytes.Repeat(unit, 40)
	for i := range data { // so that positions matter
		if i%4099 == 0 {
			data[i] = byte(i >> 8)
		}
	}
	got, err := decode(encode(t, writer.WriterConfig{DictCap: 64 << 10}, data))
	require.NoError(t, err)
	assert.True(t, bytes.Equal(data, got))
}

// FuzzRead compares with another decoder.
func FuzzRead(f *testing.F) {
	for _, c := range []writer.WriterConfig{{}, {BlockSize: 1000}, {NoCheckSum: true, DictCap: lzma.MinDictCap}} {
		f.Add(encode(f, c, prose(2000)))
		f.Add(encode(f, c, append(noise(300), make([]byte, 3000)...)))
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		const limit, dict = 1 << 20, 1 << 20
		read := func(r io.Reader, err error) (string, error) {
			if err != nil {
				return "", err
			}
			b, err := io.ReadAll(io.LimitReader(r, limit))
			return string(b), err
		}
		got, gotErr := read(xz.NewReader(bytes.NewReader(file), dict))
		if errors.Is(gotErr, xz.ErrFilter) || errors.Is(gotErr, xz.ErrMemory) {
			return
		}
		want, wantErr := read(other.NewReader(bytes.NewReader(file), dict))
		if errors.Is(wantErr, other.ErrMemlimit) || errors.Is(wantErr, other.ErrOptions) {
			return
		}
		if (gotErr == nil) != (wantErr == nil) || gotErr == nil && got != want {
			t.Errorf("%d bytes, %v; the other decoder has %d bytes, %v", len(got), gotErr, len(want), wantErr)
		}
	})
}

func BenchmarkRead(b *testing.B) {
	data := mixed(8 << 20)
	file := encode(b, writer.WriterConfig{}, data)
	for name, open := range map[string]func() (io.Reader, error){
		"slipway":        func() (io.Reader, error) { return xz.NewReader(bytes.NewReader(file), maxDict) },
		"therootcompany": func() (io.Reader, error) { return other.NewReader(bytes.NewReader(file), maxDict) },
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				r, err := open()
				require.NoError(b, err)
				n, err := io.Copy(io.Discard, r)
				require.NoError(b, err)
				require.Equal(b, fmt.Sprint(len(data)), fmt.Sprint(n))
			}
		})
	}
}
