package bootengine_test

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/cmd/internal/bootengine"
	"slipway/signing/key"
)

// testKey is the PEM form of a public key and its id.
func testKey(t *testing.T) (text []byte, id string) {
	t.Helper()
	public := ed25519.NewKeyFromSeed(make([]byte, 32)).Public()
	der, err := x509.MarshalPKIXPublicKey(public)
	require.NoError(t, err)
	id, err = key.ID(public)
	require.NoError(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), id
}

func initramfsOf(t *testing.T, cmdline string) fstest.MapFS {
	t.Helper()
	key, _ := testKey(t)
	return fstest.MapFS{
		"etc/slipway/keys/a.pem":     {Data: key},
		"etc/slipway/boot-id":        {Data: []byte(strings.Repeat("ab", 32) + "\n")},
		"etc/slipway/modules.order":  {Data: []byte("/lib/modules/6/a.ko\n/lib/modules/6/b.ko pci:v1* virtio:d2v*\n\n")},
		"etc/slipway/keys/readme.md": {Data: []byte("not a key")},
		"proc/cmdline":               {Data: []byte(cmdline + "\n")},
	}
}

func TestReadConfig(t *testing.T) {
	_, id := testKey(t)
	files := initramfsOf(t, "console=ttyS0 slipway.slot=4 slipway.esp=AbC slipway.verify=lazy")
	files["etc/slipway/keys/b.pem"] = &fstest.MapFile{Data: []byte("rubbish")}
	c, err := bootengine.ReadConfig(files)
	require.NoError(t, err)
	keys, bootID, modules, slot, esp, verify, problems := c.Parts()
	assert.Equal(t, []string{id}, keys)
	assert.Equal(t, strings.Repeat("ab", 32), bootID)
	assert.Equal(t, []bootengine.Module{
		bootengine.NewModule("/lib/modules/6/a.ko"),
		bootengine.NewModule("/lib/modules/6/b.ko", "pci:v1*", "virtio:d2v*"),
	}, modules)
	assert.Equal(t, 4, slot)
	assert.Equal(t, "abc", esp)
	assert.Equal(t, "lazy", verify)
	assert.Equal(t, []string{"etc/slipway/keys/b.pem: public key: no PEM block"}, problems)
}

func TestReadConfigArguments(t *testing.T) {
	cases := []struct{ name, cmdline, verify, problem, wantErr string }{
		{"default", "quiet", "auto", "", ""},
		{
			"unknown verify", "slipway.verify=no", "full",
			`argument "slipway.verify=no": want auto, full or lazy; taking full`, "",
		},
		{"slot is no number", "slipway.slot=A", "", "", `argument "slipway.slot=A": want the number of a partition`},
		{"slot out of range", "slipway.slot=129", "", "", `argument "slipway.slot=129": want the number of a partition`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, err := bootengine.ReadConfig(initramfsOf(t, c.cmdline))
			if c.wantErr != "" {
				assert.EqualError(t, err, c.wantErr)
				return
			}
			require.NoError(t, err)
			_, _, _, _, _, verify, problems := got.Parts()
			assert.Equal(t, c.verify, verify)
			assert.Equal(t, c.problem, strings.Join(problems, "; "))
		})
	}
}

func TestReadConfigErrors(t *testing.T) {
	cases := []struct {
		name, file string
		data       []byte // nil: the file is missing
		want       string
	}{
		{"no key", "etc/slipway/keys/a.pem", nil, "no usable key in /etc/slipway/keys: no slot can be verified"},
		{"no id", "etc/slipway/boot-id", nil, "boot id: open etc/slipway/boot-id: file does not exist"},
		{"bad id", "etc/slipway/boot-id", []byte("xyz"), `boot id "xyz": not a SHA-256 in hex`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			files := initramfsOf(t, "")
			delete(files, c.file)
			if c.data != nil {
				files[c.file] = &fstest.MapFile{Data: c.data}
			}
			_, err := bootengine.ReadConfig(files)
			assert.EqualError(t, err, c.want)
		})
	}
}
