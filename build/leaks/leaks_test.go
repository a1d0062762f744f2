package leaks_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/build/leaks"
	"slipway/build/tree"
)

func find(t *testing.T, files map[string]string, development ...[]byte) []string {
	t.Helper()
	tr := tree.New()
	for p, text := range files {
		require.NoError(t, tr.Set(p, &tree.Node{Type: tree.File, Mode: 0o644, Blob: tree.Bytes([]byte(text))}))
	}
	found, err := leaks.Find(t.Context(), &leaks.Options{Tree: tr, Development: development})
	require.NoError(t, err)
	var list []string
	for _, f := range found {
		list = append(list, f.String())
	}
	return list
}

func TestFind(t *testing.T) {
	private := ed25519.NewKeyFromSeed(make([]byte, 32))
	der, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	public, err := x509.MarshalPKIXPublicKey(private.Public())
	require.NoError(t, err)
	text := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	begin := "-----BEGIN " // so that this file is no finding itself
	body := strings.Repeat("QUJD", 16) + "\n"
	for name, c := range map[string]struct {
		path, text, want string
	}{
		"PKCS#8":             {"share/x/key.txt", text, "/share/x/key.txt: a private key (PRIVATE KEY)"},
		"in JSON":            {"share/a.json", `{"key": "` + strings.ReplaceAll(text, "\n", `\n`) + `"}`, "/share/a.json: a private key (PRIVATE KEY)"},
		"deep in a file":     {"lib/big", strings.Repeat("x", 1<<20-20) + text, "/lib/big: a private key (PRIVATE KEY)"},
		"at a seam":          {"lib/big", strings.Repeat("x", 1<<20-5) + text, "/lib/big: a private key (PRIVATE KEY)"},
		"encrypted":          {"etc/k", begin + "ENCRYPTED PRIVATE KEY-----\r\n" + body, "/etc/k: a private key (ENCRYPTED PRIVATE KEY)"},
		"with headers":       {"etc/k", begin + "RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES,00\n\n" + body, "/etc/k: a private key (RSA PRIVATE KEY)"},
		"OpenSSH":            {"etc/k", begin + "OPENSSH PRIVATE KEY-----\n" + body, "/etc/k: a private key (OPENSSH PRIVATE KEY)"},
		"OpenPGP":            {"etc/k", begin + "PGP PRIVATE KEY BLOCK-----\nVersion: 1\n\n" + body, "/etc/k: a private key (PGP PRIVATE KEY BLOCK)"},
		"PuTTY":              {"etc/k", "PuTTY-User-Key-File-3: ssh-ed25519\n", "/etc/k: a private key (PuTTY)"},
		"age":                {"etc/k", "# created\nAGE-SECRET-KEY-1" + strings.Repeat("Q", 58), "/etc/k: a private key (age)"},
		"DER":                {"etc/k", string(der), "/etc/k: a private key (PKCS#8)"},
		"ssh host key":       {"share/slipway/etc/ssh/ssh_host_rsa_key.pub", "ssh-rsa", "/share/slipway/etc/ssh/ssh_host_rsa_key.pub: an ssh host key, which every machine makes for itself"},
		"machine id":         {"share/slipway/etc/machine-id", strings.Repeat("0a", 16) + "\n", "/share/slipway/etc/machine-id: a machine id, which every machine makes for itself"},
		"random seed":        {"lib/systemd/random-seed", "\x01\x02", "/lib/systemd/random-seed: a random seed, which every machine makes for itself"},
		"development key":    {"etc/k.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})), "/etc/k.pem: a development key"},
		"development DER":    {"lib/engine", "elf" + string(public) + "more", "/lib/engine: a development key"},
		"a program's text":   {"bin/ssh", begin + "OPENSSH PRIVATE KEY-----\n\x00" + begin + "RSA PRIVATE KEY-----", ""},
		"a format":           {"bin/x.py", begin + "PRIVATE KEY-----\\n%s\\n-----END", ""},
		"uninitialized":      {"share/slipway/etc/machine-id", "uninitialized\n", ""},
		"empty machine id":   {"share/slipway/etc/machine-id", "", ""},
		"a manual's mention": {"share/x", "keys begin with AGE-SECRET-KEY-1 and PuTTY-User-Key-File-", ""},
		"a certificate":      {"share/ca.crt", begin + "CERTIFICATE-----\n" + body, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var want []string
			if c.want != "" {
				want = []string{c.want}
			}
			assert.Equal(t, want, find(t, map[string]string{c.path: c.text}, public))
		})
	}
}

// What is compiled into a package's program is known to everybody.
func TestProgramsOfPackages(t *testing.T) {
	text := "\x7fELF..." + "-----BEGIN " + "PRIVATE KEY-----\n" + strings.Repeat("QUJD", 16)
	for origin, want := range map[string]int{"package libgnutls30t64": 0, "overlay base": 1} {
		tr := tree.New()
		require.NoError(t, tr.Set("lib/x.so", &tree.Node{Type: tree.File, Blob: tree.Bytes([]byte(text)), Origin: origin}))
		found, err := leaks.Find(t.Context(), &leaks.Options{Tree: tr})
		require.NoError(t, err)
		assert.Len(t, found, want, origin)
	}
}

func TestFindingsAreInOrder(t *testing.T) {
	files := map[string]string{}
	var want []string
	for _, name := range strings.Split("abcdefghij", "") {
		files["etc/ssh_host_"+name+"_key"] = "x"
		want = append(want, "/etc/ssh_host_"+name+"_key: an ssh host key, which every machine makes for itself")
	}
	assert.Equal(t, want, find(t, files))
}

// What was seen to be clean is not read again, wherever it lies, but names and
// other rules count.
func TestCleanContentsArePassedOver(t *testing.T) {
	opened := 0
	node := func() *tree.Node {
		return &tree.Node{Type: tree.File, Blob: counted{tree.Bytes([]byte("harmless")), &opened}}
	}
	o := &leaks.Options{Tree: tree.New(), Clean: map[[32]byte]bool{}, Workers: 1}
	require.NoError(t, o.Tree.Set("a", node()))
	for range 2 {
		found, err := leaks.Find(t.Context(), o)
		require.NoError(t, err)
		assert.Empty(t, found)
		assert.Equal(t, 1, opened)
	}
	require.NoError(t, o.Tree.Set("b", node()))
	require.NoError(t, o.Tree.Set("etc/ssh_host_rsa_key", node()))
	found, err := leaks.Find(t.Context(), o)
	require.NoError(t, err)
	assert.Len(t, found, 1)
	assert.Equal(t, 2, opened)

	o.Development = [][]byte{[]byte("harm")}
	found, err = leaks.Find(t.Context(), o)
	require.NoError(t, err)
	assert.Len(t, found, 3)
}

// counted counts how often it is opened.
type counted struct {
	tree.Blob
	opened *int
}

func (c counted) Open() (io.ReadCloser, error) {
	*c.opened++
	return c.Blob.Open()
}

func FuzzFind(f *testing.F) {
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\nQUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo=\n"))
	f.Add([]byte{0x30, 0x82, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, data []byte) {
		tr := tree.New()
		data = bytes.Clone(data)
		require.NoError(t, tr.Set("x", &tree.Node{Type: tree.File, Blob: tree.Bytes(data)}))
		_, err := leaks.Find(t.Context(), &leaks.Options{Tree: tr, Workers: 1})
		assert.NoError(t, err)
	})
}
