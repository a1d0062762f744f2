package archive_test

import (
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/build/archive"
)

func host(files map[string]string) fstest.MapFS {
	m := fstest.MapFS{}
	for name, text := range files {
		m[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return m
}

func TestFindMirrors(t *testing.T) {
	const list, sources = "etc/apt/sources.list", "etc/apt/sources.list.d/debian.sources"
	for _, c := range []struct {
		name      string
		flag, env string
		host      map[string]string
		want      archive.Mirrors
		wantErr   string
	}{{
		name: "flag", flag: "http://a.example/debian/",
		want: archive.Mirrors{"debian": "http://a.example/debian", "debian-security": "http://a.example/debian-security"},
	}, {
		name: "flag before environment before host",
		flag: "http://a.example/debian", env: "http://b.example/debian other=http://c.example/x",
		host: map[string]string{list: "deb http://d.example/debian trixie main\ndeb http://e.example/debian-security trixie-security main"},
		want: archive.Mirrors{
			"debian": "http://a.example/debian", "debian-security": "http://a.example/debian-security",
			"other": "http://c.example/x",
		},
	}, {
		name: "both named", env: "https://a.example:8080/d, debian-security=file:///srv/sec",
		want: archive.Mirrors{"debian": "https://a.example:8080/d", "debian-security": "file:///srv/sec"},
	}, {
		name: "the past", flag: "http://s.example/archive/debian/20250520T000000Z",
		want: archive.Mirrors{
			"debian":          "http://s.example/archive/debian/20250520T000000Z",
			"debian-security": "http://s.example/archive/debian-security/20250520T000000Z",
		},
	}, {
		name: "directory of another name", flag: "file:///srv/mirror",
		want: archive.Mirrors{"debian": "file:///srv/mirror", "debian-security": "file:///srv/mirror-security"},
	}, {
		name: "one line format",
		host: map[string]string{list: `
# deb http://no.example/debian trixie main
deb-src http://no.example/debian trixie main
deb [ arch=amd64 signed-by=/usr/share/keyrings/docker.gpg ] https://docker.example/linux/debian trixie stable
deb	[arch=amd64]	http://a.example/debian/  trixie  main contrib # the mirror
deb http://s.example/debian-security trixie-security main
deb cdrom:[Debian 13]/ trixie main
debug http://no.example/debian x main
deb [broken http://no.example/debian x main
deb http://short.example/debian
`},
		want: archive.Mirrors{"debian": "http://a.example/debian", "debian-security": "http://s.example/debian-security"},
	}, {
		name: "deb822",
		host: map[string]string{sources: `
# the mirror
Types: deb deb-src
URIs: http://a.example/debian
 http://b.example/debian
Suites: trixie trixie-updates
# in between
Components: main
 contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://s.example/debian-security/
Suites: trixie-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Enabled: no
Types: deb
URIs: http://no.example/debian
Suites: trixie
Components: main

Types: deb-src
URIs: http://no.example/debian
Suites: trixie
Components: main
`},
		want: archive.Mirrors{"debian": "http://a.example/debian", "debian-security": "http://s.example/debian-security"},
	}, {
		name: "third parties that look alike",
		host: map[string]string{
			"etc/apt/sources.list.d/a.list": "deb [signed-by=/etc/apt/keyrings/lab.gpg] https://lab.example/lab/ce/debian/ trixie main",
			sources:                         "Types: deb\nURIs: http://a.example/pub/debian\nSuites: trixie\nComponents: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.pgp",
		},
		want: archive.Mirrors{"debian": "http://a.example/pub/debian", "debian-security": "http://a.example/pub/debian-security"},
	}, {
		name: "a list of mirrors, as cloud images have it",
		host: map[string]string{
			sources:                        "Types: deb\nURIs: mirror+file:///etc/apt/mirrors/debian.list\nSuites: trixie trixie-updates\nComponents: main",
			"etc/apt/mirrors/debian.list":  "# comment\nhttps://a.example/debian\tpriority:1\n",
			"etc/apt/sources.list.d/x.foo": "deb http://no.example/debian trixie main",
		},
		want: archive.Mirrors{"debian": "https://a.example/debian", "debian-security": "https://a.example/debian-security"},
	}, {
		name:    "none on this host",
		host:    map[string]string{list: "deb http://u.example/ubuntu noble main"},
		wantErr: "no mirror of the Debian archive is known",
	}, {
		name: "not a URL", flag: "ftp.example.org/debian",
		wantErr: `--mirror: mirror "ftp.example.org/debian": not a URL, want http://, https:// or file:///`,
	}, {
		name: "bad scheme", env: "ftp://a.example/debian",
		wantErr: `SLIPWAY_MIRROR: mirror "ftp://a.example/debian": scheme "ftp", want http, https or file`,
	}, {
		name: "named twice", flag: "http://me:secret@a.example/debian http://b.example/debian",
		wantErr: `--mirror: archive "debian": two mirrors, http://me:xxxxx@a.example/debian and http://b.example/debian`,
	}} {
		t.Run(c.name, func(t *testing.T) {
			o := &archive.MirrorOptions{Flag: c.flag, Env: c.env}
			if c.host != nil {
				o.Host = host(c.host)
			}
			got, err := archive.FindMirrors(o)
			if c.wantErr != "" {
				require.EqualError(t, err, c.wantErr)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, c.want, got)
		})
	}
	_, err := archive.FindMirrors(&archive.MirrorOptions{})
	require.ErrorIs(t, err, archive.ErrNoMirror)
	assert.Contains(t, hint(err), "--mirror http://HOST/debian")
}

func FuzzFindMirrors(f *testing.F) {
	f.Add("deb [signed-by=x] http://a/debian s main", "Types: deb\nURIs: http://a/debian\n b\nSuites: x\nComponents: main\n\n")
	f.Fuzz(func(t *testing.T, list, sources string) {
		_, _ = archive.FindMirrors(&archive.MirrorOptions{Flag: list, Host: host(map[string]string{
			"etc/apt/sources.list": list, "etc/apt/sources.list.d/a.sources": sources,
		})})
	})
}
