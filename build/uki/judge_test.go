package uki_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/build/tools/toolstest"
	"slipway/build/uki"
)

// judge runs a foreign program that must succeed and returns what it says.
func judge(t *testing.T, program string, args ...string) string {
	t.Helper()
	output, err := toolstest.Command(t, program, args...).CombinedOutput()
	require.NoError(t, err, "%s %s\n%s", program, strings.Join(args, " "), output)
	return string(output)
}

// TestForeignToolsSignIt signs a UKI of Debian's stub as Secure Boot wants it.
// Tools and firmware agree on what is signed only if no byte between the
// headers and the end is outside of a section, of which sbsign would warn.
func TestForeignToolsSignIt(t *testing.T) {
	stub, err := os.ReadFile(toolstest.Path(t, "build", "usr/lib/systemd/boot/efi/linuxx64.efi.stub"))
	require.NoError(t, err)
	o := options()
	o.Stub = stub
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	unsigned := write(t, o)
	require.NoError(t, os.WriteFile(file("boot.efi"), unsigned, 0o600))

	judge(t, "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=test",
		"-config", os.DevNull, "-keyout", file("key.pem"), "-out", file("cert.pem"), "-days", "1")
	said := judge(t, "sbsign", "--key", file("key.pem"), "--cert", file("cert.pem"),
		"--output", file("signed.efi"), file("boot.efi"))
	assert.NotContains(t, said, "warning: gap")
	assert.Contains(t, judge(t, "sbverify", "--cert", file("cert.pem"), file("signed.efi")),
		"Signature verification OK")
	assert.Contains(t, judge(t, "osslsigncode", "verify", "-CAfile", file("cert.pem"), "-in", file("signed.efi")),
		"Succeeded")

	signed, err := os.ReadFile(file("signed.efi"))
	require.NoError(t, err)
	before, err := uki.Read(bytes.NewReader(unsigned), int64(len(unsigned)))
	require.NoError(t, err)
	after, err := uki.Read(bytes.NewReader(signed), int64(len(signed)))
	require.NoError(t, err)
	require.Len(t, after.Sections, len(before.Sections))
	for i, s := range before.Sections {
		assert.Equal(t, [2]int64{s.Offset, s.Size},
			[2]int64{after.Sections[i].Offset, after.Sections[i].Size}, s.Name)
	}
}
