package main_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"github.com/stretchr/testify/require"

	"slipway/build/deb/debtest"
	slipway "slipway/cmd/slipway"
)

// project is a checkout of its own with a small overlay and a signed mirror in
// a directory: enough for every command that compiles nothing.
type project struct {
	t      *testing.T
	root   string
	mirror string
	key    *openpgp.Entity
	expiry time.Time
}

func newProject(t *testing.T) *project {
	t.Helper()
	p := &project{t: t, root: t.TempDir(), mirror: filepath.Join(t.TempDir(), "debian")}
	p.key = newKey(t)
	t.Setenv("SLIPWAY_CACHE", t.TempDir())
	t.Setenv("SLIPWAY_KEYS", t.TempDir())
	t.Setenv("SLIPWAY_MIRROR", "file://"+p.mirror)
	t.Chdir(p.root)
	p.write("go.mod", "module slipway\n")
	p.write("overlays/channels/alpha.yaml", `description: a test
layers: [base]
archive:
  suites:
    - {archive: debian, suite: trixie, components: [main]}
`)
	p.overlay("packages: [tool]\n")
	var armored bytes.Buffer
	w, err := armor.Encode(&armored, openpgp.PublicKeyType, nil)
	require.NoError(t, err)
	require.NoError(t, p.key.Serialize(w))
	require.NoError(t, w.Close())
	p.write("overlays/base/keys/test.asc", armored.String()+"\n")
	return p
}

func newKey(t *testing.T) *openpgp.Entity {
	t.Helper()
	key, err := openpgp.NewEntity("Test Archive", "", "test@example.org", &packet.Config{
		Algorithm: packet.PubKeyAlgoEdDSA,
		Time:      func() time.Time { return time.Now().Add(-72 * time.Hour) },
	})
	require.NoError(t, err)
	return key
}

func (p *project) write(name, text string) {
	p.t.Helper()
	name = filepath.Join(p.root, name)
	require.NoError(p.t, os.MkdirAll(filepath.Dir(name), 0o755))
	require.NoError(p.t, os.WriteFile(name, []byte(text), 0o644))
}

func (p *project) overlay(text string) { p.write("overlays/base/overlay.yaml", text) }

// publish signs a suite with these packages, replacing what was there.
func (p *project) publish(debs ...debtest.Package) {
	p.t.Helper()
	var index strings.Builder
	for _, d := range debs {
		content := debtest.Make(p.t, d)
		pool := "pool/" + d.Name + ".deb"
		p.put(pool, content)
		fmt.Fprintf(&index, "Package: %s\nVersion: %s\nArchitecture: amd64\n", d.Name, d.Version)
		for name, value := range d.Fields {
			fmt.Fprintf(&index, "%s: %s\n", name, value)
		}
		fmt.Fprintf(&index, "Filename: %s\nSize: %d\nSHA256: %x\n\n", pool, len(content), sha256.Sum256(content))
	}
	const packages = "main/binary-amd64/Packages"
	p.put("dists/trixie/"+packages, []byte(index.String()))
	made := time.Now().Add(-24 * time.Hour).UTC()
	text := fmt.Sprintf("Suite: stable\nCodename: trixie\nDate: %s\n", made.Format(time.RFC1123))
	if !p.expiry.IsZero() {
		text += fmt.Sprintf("Valid-Until: %s\n", p.expiry.UTC().Format(time.RFC1123))
	}
	text += fmt.Sprintf("SHA256:\n %x %d %s\n", sha256.Sum256([]byte(index.String())), index.Len(), packages)
	p.put("dists/trixie/InRelease", p.sign(text, p.key))
}

func (p *project) sign(text string, key *openpgp.Entity) []byte {
	p.t.Helper()
	var out bytes.Buffer
	w, err := clearsign.Encode(&out, key.PrivateKey, nil)
	require.NoError(p.t, err)
	_, err = io.WriteString(w, text)
	require.NoError(p.t, err)
	require.NoError(p.t, w.Close())
	out.WriteByte('\n')
	return out.Bytes()
}

func (p *project) put(name string, content []byte) {
	p.t.Helper()
	name = filepath.Join(p.mirror, name)
	require.NoError(p.t, os.MkdirAll(filepath.Dir(name), 0o755))
	require.NoError(p.t, os.WriteFile(name, content, 0o644))
}

func (p *project) read(name string) []byte {
	p.t.Helper()
	data, err := os.ReadFile(filepath.Join(p.mirror, name))
	require.NoError(p.t, err)
	return data
}

// run calls the program as a user would.
func run(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	return runContext(t, t.Context(), args...)
}

func runContext(t *testing.T, ctx context.Context, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	status = slipway.Main(ctx, append([]string{"slipway"}, args...), &out, &errs)
	return status, out.String(), errs.String()
}
