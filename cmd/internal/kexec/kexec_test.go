package kexec_test

import (
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"golang.org/x/sys/unix"

	"slipway/cmd/internal/kexec"
	"slipway/partitions"
	"slipway/signing/footer"
)

func TestOnDisk(t *testing.T) {
	table := &partitions.Table{Partitions: []partitions.Partition{{Number: 1, UUID: uuid.MustParse(partitions.UUIDUSRA)}}}
	const esp = "slipway.esp=" + "7130c94a-213a-4e5a-8e26-6cce9662f132"
	assert.Equal(t, esp+" slipway.disk=1f.2/ata:0", kexec.OnDisk(table, "1f.2/ata:0"))
	assert.Equal(t, esp, kexec.OnDisk(table, ""))
	assert.Empty(t, kexec.OnDisk(&partitions.Table{}, ""))
	k := &kexec.Kernel{CommandLine: "console=ttyS0"}
	k.Add("")
	assert.Equal(t, "console=ttyS0", k.CommandLine)
	k.Add("a=b")
	assert.Equal(t, "console=ttyS0 a=b", k.CommandLine)
}

func TestReadRefuses(t *testing.T) {
	image := strings.Repeat("x", 100)
	const empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	for _, c := range []struct {
		want footer.UKI
		err  string
	}{
		{footer.UKI{Size: 100, SHA256: empty}, "SHA-256 "},
		{footer.UKI{Size: 99, SHA256: empty}, "SHA-256 "},
		{footer.UKI{Size: 101, SHA256: empty}, "SHA-256 "},
	} {
		_, err := kexec.Read(strings.NewReader(image), &c.want)
		assert.ErrorContains(t, err, c.err)
	}
}

func TestWhyNot(t *testing.T) {
	const barred = "load its kernel: not signed by a key that this machine's Secure Boot trusts: "
	assert.NoError(t, kexec.Explain(nil))
	for _, err := range []error{unix.ENOKEY, unix.EKEYREJECTED, unix.ENODATA, unix.EPERM} {
		assert.EqualError(t, kexec.Explain(err), barred+err.Error())
	}
	assert.EqualError(t, kexec.Explain(unix.ENOSYS), "load its kernel: the running one has no kexec: function not implemented")
	assert.EqualError(t, kexec.Explain(unix.ENOMEM), "load its kernel: cannot allocate memory")
}
