package archive_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/build/archive"
)

func readIndex(data []byte) (*archive.Index, error) {
	return archive.ReadIndex("debian", "trixie", bytes.NewReader(data), int64(len(data)))
}

func TestParsePackage(t *testing.T) {
	const tail = "Filename: pool/a.deb\nSHA256: 0101010101010101010101010101010101010101010101010101010101010101\n"
	for _, c := range []struct{ name, in, want, wantErr string }{
		{name: "folded", in: "Package: a\nVersion: 1\nDepends: b,\n c (>= 1),\n\td\n" + tail, want: "b, c (>= 1), d"},
		{name: "carriage returns", in: strings.ReplaceAll("Package: a\nVersion: 1\nDepends: b,\n c\n"+tail, "\n", "\r\n"), want: "b, c"},
		{name: "folded field that is not needed", in: "Package: a\nVersion: 1\nDepends: b\nTag: x,\n y\n" + tail, want: "b"},
		{name: "no version", in: "Package: a\n" + tail, wantErr: `package "a": no Version`},
		{name: "no name", in: "Version: 1\n" + tail, wantErr: `package "": bad name`},
		{name: "no digest", in: "Package: a\nVersion: 1\nFilename: a\n", wantErr: `package "a": no SHA256`},
		{name: "bad digest", in: "Package: a\nSHA256: xyz\n", wantErr: `package "a": sha256 "xyz": want 64 hex digits, got 3 characters`},
		{name: "bad size", in: "Package: a\nSize: -1\n", wantErr: `package "a": Size "-1": not a size`},
		{name: "bad line", in: "Package: a\nhello\n", wantErr: `package "a": no field in "hello"`},
		{
			name: "path out of the mirror", in: "Package: a\nVersion: 1\n" + tail + "Filename: ../../etc/passwd\n",
			wantErr: `package "a": bad Filename "../../etc/passwd"`,
		},
	} {
		p, err := archive.ParsePackage([]byte(c.in))
		if c.wantErr != "" {
			assert.EqualError(t, err, c.wantErr, c.name)
			continue
		}
		require.NoError(t, err, c.name)
		assert.Equal(t, c.want, p.Depends, c.name)
	}
}

func TestReadIndexShapes(t *testing.T) {
	for _, c := range []struct {
		name, in, wantErr string
		want              []string
	}{
		{name: "empty"},
		{name: "blank lines only", in: "\n\n\r\n \n"},
		{name: "no newline at the end", in: "Package: b\nVersion: 1\n\nPackage: a\nVersion: 2", want: []string{"a", "b"}},
		{name: "many blank lines", in: "\n\nPackage: b\n\n\n\nPackage: a\n\n", want: []string{"a", "b"}},
		{name: "no name", in: "Package: b\n\nVersion: 1\n", wantErr: "index of trixie: line 4: paragraph without Package"},
		{
			name: "long line", in: "Package: b\nTag: " + strings.Repeat("x", 1<<20),
			wantErr: "index of trixie: line 2: longer than 1048576 bytes",
		},
		{
			name: "long paragraph", in: "Package: b\n" + strings.Repeat("Tag: "+strings.Repeat("x", 1<<16)+"\n", 17),
			wantErr: "index of trixie: line 17: paragraph is longer than 1048576 bytes",
		},
	} {
		x, err := readIndex([]byte(c.in))
		if c.wantErr != "" {
			assert.EqualError(t, err, c.wantErr, c.name)
			continue
		}
		require.NoError(t, err, c.name)
		assert.Equal(t, c.want, slices.Collect(x.Names()), c.name)
	}
}

func TestIndexOfBadPackage(t *testing.T) {
	x, err := readIndex([]byte("Package: a\nVersion: 1\n"))
	require.NoError(t, err)
	_, err = x.Named("a")
	require.EqualError(t, err, `index of trixie: package "a": no SHA256`)
}

func TestDirectoryRefusesDamage(t *testing.T) {
	index := packagesFile(someDebs...)
	d, err := archive.ScanDirectory(bytes.NewReader(index))
	require.NoError(t, err)
	data := archive.EncodeDirectory(d)
	again, err := archive.DecodeDirectory(data, int64(len(index)))
	require.NoError(t, err)
	require.Equal(t, d, again)
	for i := range data {
		bad := bytes.Clone(data)
		bad[i] ^= 0x40
		_, err := archive.DecodeDirectory(bad, int64(len(index)))
		require.Error(t, err, "byte %d", i)
	}
	_, err = archive.DecodeDirectory(data, int64(len(index))-10)
	require.Error(t, err, "of a longer index")
	_, err = archive.DecodeDirectory(data[:20], int64(len(index)))
	require.Error(t, err)
}

func FuzzReadIndex(f *testing.F) {
	f.Add(packagesFile(someDebs...))
	f.Add([]byte("Package: a\nProvides: b, c (= 1),\n d:any\n\n\nPackage:b\r\n\r\nPackage: a\nVersion: 1"))
	f.Add([]byte("\n \n:\nPackage:\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		x, err := readIndex(data)
		if err != nil {
			return
		}
		d, err := archive.ScanDirectory(bytes.NewReader(data))
		require.NoError(t, err)
		encoded := archive.EncodeDirectory(d)
		again, err := archive.DecodeDirectory(encoded, int64(len(data)))
		require.NoError(t, err)
		require.Equal(t, encoded, archive.EncodeDirectory(again))
		for name := range x.Names() {
			packages, err := x.Named(name)
			for _, p := range packages {
				require.Equal(t, name, p.Name)
				for v := range strings.SplitSeq(p.Provides, ",") {
					v, _, _ = strings.Cut(strings.TrimSpace(v), " ")
					if v, _, _ = strings.Cut(v, "("); v == "" || strings.Contains(v, ":") {
						continue
					}
					providers, err := x.Providing(v)
					require.True(t, err != nil || slices.Contains(providers, p), "%q", v)
				}
			}
			require.True(t, err != nil || len(packages) > 0)
		}
	})
}

// FuzzDirectory gives the body a digest that is right, to get behind it.
func FuzzDirectory(f *testing.F) {
	d, err := archive.ScanDirectory(bytes.NewReader(packagesFile(someDebs...)))
	require.NoError(f, err)
	data := archive.EncodeDirectory(d)
	f.Add(data[:len(data)-32], int64(1000))
	f.Fuzz(func(t *testing.T, body []byte, size int64) {
		sum := sha256.Sum256(body)
		d, err := archive.DecodeDirectory(append(bytes.Clone(body), sum[:]...), size)
		if err == nil {
			_, err = archive.DecodeDirectory(archive.EncodeDirectory(d), size)
			require.NoError(t, err)
		}
	})
}

// manyPackages is an index about as large as that of Debian's main component.
func manyPackages() []byte {
	var b bytes.Buffer
	filler := strings.Repeat("x", 460)
	for i := range 68_000 {
		fmt.Fprintf(&b, "Package: lib%c%05d\nVersion: 1.%d-1\nArchitecture: amd64\nDepends: libc6 (>= 2.38)\nTag: %s\n",
			'a'+i%26, i, i, filler)
		if i%4 == 0 {
			fmt.Fprintf(&b, "Provides: virtual-%d (= 1)\n", i/8)
		}
		fmt.Fprintf(&b, "Filename: pool/main/l/lib/lib%d.deb\nSize: %d\nSHA256: %064x\n\n", i, i+1, i+1)
	}
	return b.Bytes()
}

// BenchmarkScan is what a new index costs after it is decompressed.
func BenchmarkScan(b *testing.B) {
	data := manyPackages()
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		_, err := archive.ScanDirectory(bytes.NewReader(data))
		require.NoError(b, err)
	}
}

// BenchmarkDirectory is what a known index costs.
func BenchmarkDirectory(b *testing.B) {
	data := manyPackages()
	d, err := archive.ScanDirectory(bytes.NewReader(data))
	require.NoError(b, err)
	encoded := archive.EncodeDirectory(d)
	b.ReportAllocs()
	for b.Loop() {
		_, err := archive.DecodeDirectory(encoded, int64(len(data)))
		require.NoError(b, err)
	}
}

// BenchmarkSuiteCold fetches over loopback, verifies, decompresses and scans;
// BenchmarkSuiteWarm finds everything but InRelease in the store.
func BenchmarkSuiteCold(b *testing.B) { benchmarkSuite(b, true) }
func BenchmarkSuiteWarm(b *testing.B) { benchmarkSuite(b, false) }

func benchmarkSuite(b *testing.B, cold bool) {
	key := newKey(b, made.AddDate(0, 0, -1), 0)
	plain := manyPackages()
	const name = "main/binary-amd64/Packages"
	content := files{name: plain, name + ".xz": packXZ(b, plain)}
	m := serve(b, files{
		"dists/trixie/InRelease":       sign(b, suiteText("trixie", "", content), made, key),
		"dists/trixie/" + name + ".xz": content[name+".xz"],
	})
	c := client(b, m)
	keys := keyRing(b, key)
	open := func() {
		s, err := c.Suite(b.Context(), &archive.SuiteOptions{Suite: "trixie", Keys: keys, Now: now})
		require.NoError(b, err)
		_, err = s.Indexes[0].Named("liba00000")
		require.NoError(b, err)
		require.NoError(b, s.Close())
	}
	open()
	b.ReportAllocs()
	for b.Loop() {
		if cold {
			b.StopTimer()
			c = client(b, m)
			b.StartTimer()
		}
		open()
	}
}
