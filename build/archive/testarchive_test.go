package archive_test

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
	"github.com/ulikunitz/xz"

	"slipway/build/archive"
	"slipway/build/store"
)

// The time at which all tests take place, and the date of their archives.
var (
	now  = time.Date(2026, time.March, 10, 12, 0, 0, 0, time.UTC)
	made = now.Add(-24 * time.Hour)
)

// newKey makes a signing key that was made at the given time; a lifetime of 0
// is for ever.
func newKey(t testing.TB, created time.Time, lifetime time.Duration) *openpgp.Entity {
	t.Helper()
	e, err := openpgp.NewEntity("Test Archive", "", "test@example.org", &packet.Config{
		Time:            func() time.Time { return created },
		Algorithm:       packet.PubKeyAlgoEdDSA,
		KeyLifetimeSecs: uint32(lifetime / time.Second),
	})
	require.NoError(t, err)
	return e
}

// armored is a key as overlays ship it.
func armored(t testing.TB, keys ...*openpgp.Entity) string {
	t.Helper()
	var all bytes.Buffer
	for _, k := range keys {
		w, err := armor.Encode(&all, openpgp.PublicKeyType, nil)
		require.NoError(t, err)
		require.NoError(t, k.Serialize(w))
		require.NoError(t, w.Close())
		all.WriteByte('\n')
	}
	return all.String()
}

func keyRing(t testing.TB, keys ...*openpgp.Entity) *archive.Keys {
	t.Helper()
	ring := &archive.Keys{}
	if len(keys) > 0 {
		require.NoError(t, ring.Read("test.asc", strings.NewReader(armored(t, keys...))))
	}
	return ring
}

// sign makes an InRelease of a text.
func sign(t testing.TB, text string, at time.Time, keys ...*openpgp.Entity) []byte {
	t.Helper()
	var private []*packet.PrivateKey
	for _, k := range keys {
		private = append(private, k.PrivateKey)
	}
	var out bytes.Buffer
	w, err := clearsign.EncodeMulti(&out, private, &packet.Config{Time: func() time.Time { return at }})
	require.NoError(t, err)
	_, err = io.WriteString(w, text)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	out.WriteByte('\n')
	return out.Bytes()
}

// files is a mirror: content by path.
type files map[string][]byte

// deb describes a package of a test archive; its content is arbitrary.
type deb struct {
	name, version, fields string
	content               []byte
}

func (d deb) path() string { return "pool/main/" + d.name + "_" + d.version + "_amd64.deb" }

func (d deb) download() archive.Download {
	return archive.Download{
		Name: d.name + " " + d.version, Archive: "debian", Path: d.path(),
		Size: int64(len(d.content)), SHA256: sha256.Sum256(d.content),
	}
}

// packagesFile is the index of the packages.
func packagesFile(debs ...deb) []byte {
	var b bytes.Buffer
	for _, d := range debs {
		fmt.Fprintf(&b, "Package: %s\nVersion: %s\nArchitecture: amd64\nDescription: a test\n", d.name, d.version)
		b.WriteString(d.fields)
		fmt.Fprintf(&b, "Filename: %s\nSize: %d\nSHA256: %x\n\n", d.path(), len(d.content), sha256.Sum256(d.content))
	}
	return b.Bytes()
}

// suiteText is the Release of a suite with these files in it.
func suiteText(suite string, head string, content files) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Origin: Test\nSuite: stable\nCodename: %s\nDate: %s\n", suite, made.Format(time.RFC1123))
	b.WriteString(head + "MD5Sum:\n 00000000000000000000000000000000 1 nonsense\nSHA256:\n")
	for _, name := range slices.Sorted(maps.Keys(content)) {
		fmt.Fprintf(&b, " %x %8d %s\n", sha256.Sum256(content[name]), len(content[name]), name)
	}
	return b.String()
}

// publish adds a suite with its packages to a mirror, signed.
func (m files) publish(t testing.TB, key *openpgp.Entity, suite, head string, debs ...deb) {
	t.Helper()
	index := packagesFile(debs...)
	const name = "main/binary-amd64/Packages"
	content := files{name: index, name + ".xz": packXZ(t, index)}
	for file, data := range content {
		if strings.Contains(head, "Acquire-By-Hash: yes") {
			file = path.Dir(file) + "/by-hash/SHA256/" + fmt.Sprintf("%x", sha256.Sum256(data))
		}
		m["dists/"+suite+"/"+file] = data
	}
	m["dists/"+suite+"/InRelease"] = sign(t, suiteText(suite, head, content), made, key)
	for _, d := range debs {
		m[d.path()] = d.content
	}
}

func packXZ(t testing.TB, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := xz.NewWriter(&b)
	require.NoError(t, err)
	_, err = w.Write(data)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return b.Bytes()
}

func packGZ(t testing.TB, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write(data)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return b.Bytes()
}

// mirror serves files and remembers what it was asked for. hook, if set, may
// answer a request itself.
type mirror struct {
	*httptest.Server
	files files
	hook  func(w http.ResponseWriter, r *http.Request, data []byte) bool

	mu    sync.Mutex
	asked []string // "path" or "path from N"
}

func serve(t testing.TB, f files) *mirror {
	t.Helper()
	m := &mirror{files: f}
	m.Server = httptest.NewServer(m)
	t.Cleanup(m.Close)
	return m
}

func (m *mirror) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(r.URL.Path, "/debian/")
	m.mu.Lock()
	asked := name
	if from := r.Header.Get("Range"); from != "" {
		asked += " " + from
	}
	m.asked = append(m.asked, asked)
	data, ok := m.files[name]
	m.mu.Unlock()
	if m.hook != nil && m.hook(w, r, data) {
		return
	}
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("ETag", fmt.Sprintf("%q", fmt.Sprintf("%x", sha256.Sum256(data))))
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
}

// requests returns what was asked since the last call.
func (m *mirror) requests() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	asked := m.asked
	m.asked = nil
	return asked
}

// client fetches from a test mirror without patience.
func client(t testing.TB, m *mirror, change ...func(*archive.Options)) *archive.Client {
	t.Helper()
	st, err := store.Open(t.TempDir())
	require.NoError(t, err)
	o := &archive.Options{
		Mirrors: archive.Mirrors{"debian": m.URL + "/debian"}, Store: st, Dir: t.TempDir(),
		Backoff: time.Millisecond, Stall: 10 * time.Second,
	}
	for _, f := range change {
		f(o)
	}
	return archive.New(o)
}

// hint is what an error proposes, empty if nothing.
func hint(err error) string {
	for ; err != nil; err = unwrap(err) {
		if h, ok := err.(interface{ Hint() string }); ok {
			return h.Hint()
		}
	}
	return ""
}

func unwrap(err error) error {
	if u, ok := err.(interface{ Unwrap() error }); ok {
		return u.Unwrap()
	}
	return nil
}

func packZST(t testing.TB, data []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	require.NoError(t, err)
	return w.EncodeAll(data, nil)
}
