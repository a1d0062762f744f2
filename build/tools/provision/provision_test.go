package provision_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/build/archive"
	"slipway/build/deb/debtest"
	"slipway/build/tools"
	"slipway/build/tools/provision"
)

var now = time.Date(2026, time.March, 10, 12, 0, 0, 0, time.UTC)

// mirror is a directory with signed suites. The first package of the group
// has all programs, which are not real ones.
type mirror struct {
	dir  string
	keys *archive.Keys
}

func newMirror(t *testing.T, g tools.Group) *mirror {
	t.Helper()
	m := &mirror{dir: t.TempDir(), keys: new(archive.Keys)}
	key, err := openpgp.NewEntity("Test Archive", "", "test@example.org", &packet.Config{
		Time: func() time.Time { return now.Add(-time.Hour) }, Algorithm: packet.PubKeyAlgoEdDSA,
	})
	require.NoError(t, err)
	var public bytes.Buffer
	require.NoError(t, key.Serialize(&public))
	require.NoError(t, m.keys.Read("test.gpg", &public))

	var index strings.Builder
	for i, name := range g.Packages {
		p := debtest.Package{Name: name, Version: "9.9"}
		if i == 0 {
			for _, program := range g.Programs {
				p.Files = append(p.Files, debtest.File{Path: "usr/bin/" + program, Content: "#!/bin/false\n"})
			}
		}
		content := debtest.Make(t, p)
		path := "pool/main/" + name + "_9.9_amd64.deb"
		m.write(t, path, content)
		fmt.Fprintf(&index, "Package: %s\nVersion: 9.9\nArchitecture: amd64\nFilename: %s\nSize: %d\nSHA256: %x\n\n",
			name, path, len(content), sha256.Sum256(content))
	}
	m.publish(t, key, "trixie", index.String())
	m.publish(t, key, "trixie-security", "")
	return m
}

func (m *mirror) write(t *testing.T, path string, content []byte) {
	t.Helper()
	path = filepath.Join(m.dir, path)
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, content, 0o644))
}

// publish signs a suite of one index.
func (m *mirror) publish(t *testing.T, key *openpgp.Entity, suite, index string) {
	t.Helper()
	packed := debtest.Compress(t, ".xz", []byte(index))
	const name = "main/binary-amd64/Packages"
	text := fmt.Sprintf("Origin: Test\nCodename: %s\nDate: %s\nSHA256:\n %x %d %s\n %x %d %s.xz\n",
		suite, now.Format(time.RFC1123),
		sha256.Sum256([]byte(index)), len(index), name, sha256.Sum256(packed), len(packed), name)
	var signed bytes.Buffer
	w, err := clearsign.Encode(&signed, key.PrivateKey, &packet.Config{Time: func() time.Time { return now }})
	require.NoError(t, err)
	_, err = io.WriteString(w, text)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	m.write(t, "dists/"+suite+"/InRelease", append(signed.Bytes(), '\n'))
	m.write(t, "dists/"+suite+"/"+name, []byte(index))
	m.write(t, "dists/"+suite+"/"+name+".xz", packed)
}

func (m *mirror) options(t *testing.T) *provision.Options {
	url := "file://" + m.dir
	return &provision.Options{
		CacheDir: t.TempDir(), Mirror: url + ",debian-security=" + url, Keys: m.keys, Now: now,
	}
}

func TestOpenFresh(t *testing.T) {
	g, ok := tools.LookupGroup("judge")
	require.True(t, ok)
	m := newMirror(t, g)
	o := m.options(t)

	o.Strict = true
	_, err := provision.Open(t.Context(), g.Name, o)
	assert.ErrorIs(t, err, tools.ErrGone)

	o.Strict = false
	var warnings []string
	o.Warn = func(line string) { warnings = append(warnings, line) }
	tree, err := provision.Open(t.Context(), g.Name, o)
	require.NoError(t, err)
	assert.True(t, tree.Fresh())
	assert.Len(t, tree.Packages(), len(g.Packages))
	require.Len(t, warnings, 1)
	assert.Contains(t, warnings[0], "taking today's packages instead of the pinned ones")
	assert.FileExists(t, tree.Path("usr/bin/sgdisk"))

	f, err := provision.Package(t.Context(), &tree.Packages()[0], o)
	require.NoError(t, err)
	defer f.Close()
	content, err := io.ReadAll(f)
	require.NoError(t, err)
	assert.Equal(t, [32]byte(tree.Packages()[0].SHA256), sha256.Sum256(content))
}

func TestLock(t *testing.T) {
	g, ok := tools.LookupGroup("run")
	require.True(t, ok)
	m := newMirror(t, g)
	l, err := provision.Lock(t.Context(), g.Name, m.options(t))
	require.NoError(t, err)
	require.NoError(t, l.Validate())
	assert.Equal(t, now, l.Date)
	assert.Equal(t, "tools run", l.Package("ovmf").Why)

	_, err = provision.Lock(t.Context(), "play", m.options(t))
	assert.EqualError(t, err, `tools "play": no such group`)

	o := m.options(t)
	o.Keys = new(archive.Keys)
	_, err = provision.Lock(t.Context(), g.Name, o)
	assert.ErrorIs(t, err, archive.ErrUnknownKey)
}
