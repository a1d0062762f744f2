package resolver_test

type resolveCase struct {
	name     string
	index    string
	security string // a second index
	packages []string
	prefer   map[string]string
	exclude  []string
	want     string
	wantErr  string
	wantHint string
}

var resolveCases = []resolveCase{{
	name: "depends and pre-depends, not recommends",
	index: `
a 1
Pre-Depends: b
Depends: c (>= 2)
Recommends: d

b 1

c 2-1

d 1`,
	packages: []string{"a"},
	want: `
a 1 <- overlay base
b 1 <- a: Pre-Depends b
c 2-1 <- a: Depends c (>= 2)`,
}, {
	name: "a cycle, and essential packages only when needed",
	index: `
a 1
Depends: b

b 1
Depends: a

init 1
Essential: yes`,
	packages: []string{"a"},
	want: `
a 1 <- overlay base
b 1 <- a: Depends b`,
}, {
	name: "the highest version of all suites",
	index: `
a 1.0-1

b 2`,
	security: `
a 1.0-1+deb13u1
Depends: b

b 1`,
	packages: []string{"a"},
	want: `
a 1.0-1+deb13u1 of trixie-security <- overlay base
b 2 <- a: Depends b`,
}, {
	name:     "the same version in two suites",
	index:    "a 1.0-1",
	security: "a 1.0-1\n\na 1.0-1~x",
	packages: []string{"a"},
	want:     `a 1.0-1 <- overlay base`,
}, {
	name: "other architectures do not count",
	index: `
a 1

a 2
Architecture: i386

b 1
Architecture: all`,
	packages: []string{"a", "b"},
	want: `
a 1 <- overlay base
b 1 <- overlay base`,
}, {
	name: "the first alternative",
	index: `
a 1
Depends: b | c

b 1

c 1`,
	packages: []string{"a"},
	want: `
a 1 <- overlay base
b 1 <- a: Depends b | c`,
}, {
	name: "an alternative that is needed anyhow",
	index: `
a 1
Depends: b | c, d

b 1

c 1

d 1
Depends: e

e 1
Depends: c`,
	packages: []string{"a"},
	want: `
a 1 <- overlay base
c 1 <- e: Depends c
d 1 <- a: Depends d
e 1 <- d: Depends e`,
}, {
	name: "the first alternative that can be installed",
	index: `
a 1
Depends: nothing | old (>= 2) | broken | c

old 1

broken 1
Depends: missing

c 1`,
	packages: []string{"a"},
	want: `
a 1 <- overlay base
c 1 <- a: Depends nothing | old (>= 2) | broken | c`,
}, {
	name: "an alternative without conflict",
	index: `
a 1
Depends: b | c, d

b 1
Breaks: d (<< 5)

c 1

d 4`,
	packages: []string{"a"},
	want: `
a 1 <- overlay base
c 1 <- a: Depends b | c
d 4 <- a: Depends d`,
}, {
	name: "a choice that is taken back",
	index: `
a 1
Depends: b | c, x | y

b 1

c 1

x 1
Conflicts: b

y 1
Conflicts: b`,
	packages: []string{"a"},
	want: `
a 1 <- overlay base
c 1 <- a: Depends b | c
x 1 <- a: Depends x | y`,
}, {
	name: "a preferred alternative",
	index: `
a 1
Depends: b | c

b 1

c 1`,
	packages: []string{"a"},
	prefer:   map[string]string{"b": "c"},
	want: `
a 1 <- overlay base
c 1 <- a: Depends b | c`,
}, {
	name: "virtual packages by priority, name and preference",
	index: `
a 1
Depends: awk, mta, shell

gawk 1
Provides: awk
Priority: optional

mawk 1
Provides: awk
Priority: required

exim 1
Provides: mta

bmail 1
Provides: mta

bash 1
Provides: shell

zsh 1
Provides: shell`,
	packages: []string{"a"},
	prefer:   map[string]string{"shell": "zsh"},
	want: `
a 1 <- overlay base
bmail 1 <- a: Depends mta
mawk 1 <- a: Depends awk
zsh 1 <- a: Depends shell`,
}, {
	name: "versions of what is provided",
	index: `
a 1
Depends: v (>= 2)

b 1
Provides: v

c 1
Provides: v (= 1.9)

d 1
Provides: v (= 2.0)`,
	packages: []string{"a"},
	want: `
a 1 <- overlay base
d 1 <- a: Depends v (>= 2)`,
}, {
	name: "a real package before one that provides its name",
	index: `
a 1
Depends: v

b 1
Provides: v

v 1`,
	packages: []string{"a"},
	want: `
a 1 <- overlay base
v 1 <- a: Depends v`,
}, {
	name: "a virtual package in an overlay, and a real one that is provided, too",
	index: `
awk 1

b 1
Provides: awk, mta

c 1
Provides: mta

z 1
Provides: mta`,
	packages: []string{"b", "awk", "mta", "z"},
	want: `
awk 1 <- overlay base
b 1 <- overlay base
z 1 <- overlay base`,
}, {
	name: "any architecture",
	index: `
a 1
Depends: b:any, c:amd64

b 1
Multi-Arch: allowed

c 1`,
	packages: []string{"a"},
	want: `
a 1 <- overlay base
b 1 <- a: Depends b:any
c 1 <- a: Depends c:amd64`,
}, {
	name: "what concerns other architectures",
	index: `
a 1
Depends: all:amd64, gone [i386]
Conflicts: b:x32, c:i386, gone:any

all 1
Architecture: all

b 1

c 1`,
	packages: []string{"a", "b", "c"},
	want: `
a 1 <- overlay base
all 1 <- a: Depends all:amd64
b 1 <- overlay base
c 1 <- overlay base`,
}, {
	name: "only one of us",
	index: `
a 1
Provides: mta
Conflicts: mta`,
	packages: []string{"a"},
	want:     `a 1 <- overlay base`,
}, {
	name:     "a version in the overlay",
	index:    "a 1.5",
	packages: []string{"a (>= 1.2)"},
	want:     `a 1.5 <- overlay base`,
}, {
	name: "unknown package", index: "docker.io 1\n\ndocker-cli 1\n\nsystemd 1\n\nsystemd-sysv 1",
	packages: []string{"docker"},
	wantErr:  `overlay base: package "docker": there is no package of that name`,
	wantHint: "did you mean docker.io, docker-cli?",
}, {
	name: "misspelt package", index: "systemd 1\n\nsystemd-sysv 1\n\nudev 1",
	packages: []string{"sytemd"},
	wantErr:  `overlay base: package "sytemd": there is no package of that name`,
	wantHint: "did you mean systemd?",
}, {
	name: "chain down to what is missing",
	index: `
docker.io 26.1
Depends: containerd (>= 1.6)

containerd 1.7
Depends: runc (>= 9)

runc 1.1`,
	packages: []string{"docker.io"},
	wantErr:  `overlay base: docker.io 26.1: containerd 1.7: Depends runc (>= 9): the archive has runc 1.1`,
}, {
	name: "no alternative is left",
	index: `
a 1
Depends: b (>= 2) | v (>= 3) | c | d | libc:any

b 1

x 1
Provides: v (= 2)

d 1

libc 1`,
	packages: []string{"a"},
	exclude:  []string{"d"},
	wantErr: `overlay base: a 1: Depends b (>= 2) | v (>= 3) | c | d | libc:any: the archive has b 1; ` +
		`the archive has v (= 2) of x; there is no package of that name; d is excluded; ` +
		`the archive has libc for amd64 only`,
}, {
	name: "first of several that all lack something",
	index: `
a 1
Depends: b | c

b 1
Depends: missing

c 1
Depends: gone`,
	packages: []string{"a"},
	wantErr:  `overlay base: a 1: b 1: Depends missing: there is no package of that name`,
}, {
	name: "conflict",
	index: `
a 1
Depends: b

b 2

c 3
Conflicts: b (<< 3)`,
	packages: []string{"a", "c"},
	wantErr:  `c Conflicts b (<< 3): wanted by overlay base: c 3; and by overlay base: a 1: b 2`,
}, {
	name: "conflict with what is provided",
	index: `
a 1
Provides: mta
Conflicts: mta

b 1
Provides: mta`,
	packages: []string{"a", "b"},
	wantErr:  `a Conflicts mta: wanted by overlay base: a 1; and by overlay base: b 1`,
}, {
	name:     "bad name in an overlay",
	packages: []string{"a b"},
	index:    "a 1",
	wantErr:  `overlay base: relation "a b": unexpected 'b'`,
}, {
	name:     "bad field",
	packages: []string{"a"},
	index:    "a 1\nDepends: b (",
	wantErr:  `package "a": Depends: relation "b (": no closing bracket`,
}}
