package finish_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"slipway/build/finish"
)

// pamTree is what libpam-runtime ships, in short, with further profiles.
func pamTree(t *testing.T, profiles ...string) []string {
	t.Helper()
	lines := []string{
		"usr/share/pam-configs/unix: Name: Unix\nDefault: yes\nPriority: 256\n" +
			"Auth-Type: Primary\nAuth:\n" +
			"\t[success=end default=ignore]\tpam_unix.so nullok try_first_pass\n" +
			"Auth-Initial:\n\t[success=end default=ignore]\tpam_unix.so nullok\n" +
			"Session-Type: Additional\nSession:\n\trequired\tpam_unix.so\n",
		"usr/share/pam-configs/systemd: Name: S\nDefault: yes\nPriority: 0\n" +
			"Session-Interactive-Only: yes\nSession-Type: Additional\n" +
			"Session:\n\toptional\tpam_systemd.so\n",
		"usr/share/pam-configs/mkhomedir: Name: M\nDefault: no\nPriority: 0\n" +
			"Session-Type: Additional\nSession:\n\toptional\tpam_mkhomedir.so\n",
	}
	for _, kind := range []string{"auth", "account", "password", "session", "session-noninteractive"} {
		prefix := strings.Replace(kind, "session-noninteractive", "session_nonint", 1)
		typ, _, _ := strings.Cut(kind, "-")
		lines = append(lines, "usr/share/pam/common-"+kind+": # "+kind+"\n$"+prefix+"_primary\n"+
			typ+"\trequisite\tpam_deny.so\n$"+prefix+"_additional\n")
	}
	return append(lines, profiles...)
}

func TestPAM(t *testing.T) {
	u := run(t, files(t, pamTree(t)...), config(t, "{}"))
	pam := func(name string) string { return content(t, u, "share/slipway/etc/pam.d/common-"+name) }
	assert.Equal(t, "# auth\nauth\t[success=1 default=ignore]\tpam_unix.so nullok\n"+
		"auth\trequisite\tpam_deny.so\n\n", pam("auth"))
	assert.Equal(t, "# session\nsession\t[default=1]\tpam_permit.so\n"+
		"session\trequisite\tpam_deny.so\n"+
		"session\trequired\tpam_unix.so\nsession\toptional\tpam_systemd.so\n", pam("session"))
	assert.Equal(t, "# session-noninteractive\nsession\t[default=1]\tpam_permit.so\n"+
		"session\trequisite\tpam_deny.so\nsession\trequired\tpam_unix.so\n",
		pam("session-noninteractive"), "pam_systemd is for sessions with a user in front")
}

// With two ways to authenticate the first that succeeds skips the other and
// the denial; the second tries the password that the first asked for.
func TestPAMTwoPrimaries(t *testing.T) {
	u := run(t, files(t, pamTree(t, "usr/share/pam-configs/sss: Name: SSS\n"+
		"Default: yes\nPriority: 300\n"+
		"Auth-Type: Primary\nAuth:\n\t[success=end default=ignore]\tpam_sss.so use_first_pass\n"+
		"Auth-Initial:\n\t[success=end default=ignore]\tpam_sss.so\n")...), config(t, "{}"))
	assert.Equal(t, "# auth\nauth\t[success=2 default=ignore]\tpam_sss.so\n"+
		"auth\t[success=1 default=ignore]\tpam_unix.so nullok try_first_pass\n"+
		"auth\trequisite\tpam_deny.so\n\n", content(t, u, "share/slipway/etc/pam.d/common-auth"))
}

func FuzzParsePAMProfile(f *testing.F) {
	f.Add("Name: x\nDefault: yes\nPriority: 1\nAuth:\n\trequired\tx.so\n")
	f.Add("\tx\n")
	f.Fuzz(func(_ *testing.T, text string) { _ = finish.ParsePAMProfile(text) })
}

func FuzzParseSysusers(f *testing.F) {
	f.Add("u root 0 - /root /bin/bash\ng x -\nm a b\nr - 1-5\n")
	f.Add("u! x 1:2 \"a b\" 'c' -\n")
	f.Add("u x 1 \"")
	f.Fuzz(func(_ *testing.T, text string) { _, _ = finish.ParseSysusers(text, "f") })
}

func TestParseSysusersErrors(t *testing.T) {
	for _, test := range []struct{ line, want string }{
		{"x a 1", `f:1: type "x" is none of u, g, m, r`},
		{"u", "f:1: no name"},
		{`u a 1 "b`, `f:1: no closing "`},
		{"u a 1 a:b", `f:1: field "a:b" holds a colon or a specifier`},
		{"u a 1 b c d e", "f:1: 7 fields, of at most 6"},
	} {
		_, err := finish.ParseSysusers(test.line, "f")
		assert.EqualError(t, err, test.want)
	}
}

func TestQuote(t *testing.T) {
	assert.Equal(t, "4521.0.0", finish.Quote("4521.0.0"))
	assert.Equal(t, `""`, finish.Quote(""))
	assert.Equal(t, "\"a \\\"b\\\" \\$c \\`d\\` \\\\\"", finish.Quote("a \"b\" $c `d` \\"))
}
