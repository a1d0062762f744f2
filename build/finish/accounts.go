package finish

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"slipway/build/tree"
	"slipway/overlays"
)

// accounts are the users and groups of the image. Every id is fixed: files in
// ROOT keep their owner's number through all updates.
type accounts struct {
	users  []user
	groups []group
}

type user struct {
	name          string
	uid, gid      uint32
	comment, home string
	shell         string
}

type group struct {
	name    string
	gid     uint32
	members []string
}

func (a *accounts) findUser(name string) *user {
	i := slices.IndexFunc(a.users, func(u user) bool { return u.name == name })
	if i < 0 {
		return nil
	}
	return &a.users[i]
}

func (a *accounts) findGroup(name string) *group {
	i := slices.IndexFunc(a.groups, func(g group) bool { return g.name == name })
	if i < 0 {
		return nil
	}
	return &a.groups[i]
}

// uid gives the number of a user that is named or already a number. Root needs
// no declaration.
func (a *accounts) uid(name string) (uint32, error) {
	if name == "root" {
		return 0, nil
	}
	if n, err := strconv.ParseUint(name, 10, 32); err == nil {
		return uint32(n), nil
	}
	if u := a.findUser(name); u != nil {
		return u.uid, nil
	}
	return 0, fmt.Errorf("user %q: not declared", name)
}

// gid is uid for groups.
func (a *accounts) gid(name string) (uint32, error) {
	if name == "root" {
		return 0, nil
	}
	if n, err := strconv.ParseUint(name, 10, 32); err == nil {
		return uint32(n), nil
	}
	if g := a.findGroup(name); g != nil {
		return g.gid, nil
	}
	return 0, fmt.Errorf("group %q: not declared", name)
}

// writeAccounts joins what packages ask for in sysusers.d with the overlays'
// users and groups, and writes passwd, group, shadow and gshadow.
func (r *run) writeAccounts() error {
	lines, err := r.sysusers()
	if err != nil {
		return err
	}
	r.accounts, err = joinAccounts(lines, r.Config.Users, r.Config.Groups)
	if err != nil {
		return err
	}
	shadow, err := r.accounts.gid("shadow")
	if err != nil {
		shadow = 0
	}
	passwdText, groupText, shadowText, gshadowText := r.accounts.files()
	for _, f := range []struct {
		name, text string
		mode, gid  uint32
	}{
		{"passwd", passwdText, 0o644, 0},
		{"group", groupText, 0o644, 0},
		{"shadow", shadowText, 0o640, shadow},
		{"gshadow", gshadowText, 0o640, shadow},
	} {
		r.put("etc/"+f.name, &tree.Node{
			Type: tree.File, Mode: f.mode, GID: f.gid, Blob: tree.Bytes([]byte(f.text))})
	}
	return r.text(sysusersFile, r.accounts.sysusers())
}

// sysusersFile sorts before every package's file of its directory: a
// systemd-sysusers that runs on the machine, where /etc/passwd may be older
// than the image, gives new accounts the same ids.
const sysusersFile = "usr/lib/sysusers.d/00-slipway.conf"

// joinAccounts decides every id. The overlays' word counts for ids, and for
// the fields they give; the packages' for the rest. An account that gets a
// number from neither is an error.
func joinAccounts(
	lines []sysuser, users []overlays.User, groups []overlays.Group,
) (*accounts, error) {
	a := &accounts{}
	j := joiner{accounts: a}
	for _, g := range groups {
		a.groups = append(a.groups, group{name: g.Name, gid: *g.GID})
	}
	for _, line := range lines {
		if line.kind == 'g' {
			j.packageGroup(line)
		}
	}
	for _, u := range users {
		j.overlayUser(u)
	}
	for _, line := range lines {
		if line.kind == 'u' {
			j.packageUser(line)
		}
	}
	for _, line := range lines {
		if line.kind == 'm' {
			j.member(line.name, line.id, line.file)
		}
	}
	for _, u := range users {
		for _, name := range u.Groups {
			j.member(u.Name, name, "the overlays")
		}
	}
	for _, g := range groups {
		for _, name := range g.Members {
			j.member(name, g.Name, "the overlays")
		}
	}
	j.sortAndCheck()
	return a, errors.Join(j.problems...)
}

type joiner struct {
	*accounts
	problems []error
}

func (j *joiner) problem(format string, args ...any) {
	j.problems = append(j.problems, fmt.Errorf(format, args...))
}

func (j *joiner) packageGroup(line sysuser) {
	if j.findGroup(line.name) != nil {
		return
	}
	gid, err := strconv.ParseUint(line.id, 10, 32)
	if err != nil {
		j.problem("group %q of %s: no fixed id; declare one under groups: in an overlay",
			line.name, line.file)
		return
	}
	j.groups = append(j.groups, group{name: line.name, gid: uint32(gid)})
}

func (j *joiner) overlayUser(o overlays.User) {
	u := user{name: o.Name, uid: *o.UID, comment: o.Comment, home: o.Home, shell: o.Shell}
	switch g := j.findGroup(o.Name); {
	case o.GID != nil:
		u.gid = *o.GID
	case g != nil:
		u.gid = g.gid
	default:
		u.gid = u.uid
		j.groups = append(j.groups, group{name: u.name, gid: u.uid})
	}
	j.users = append(j.users, u)
}

// packageUser adds a user of sysusers.d(5). Its id field is UID, UID:GID,
// UID:GROUP or -; one that names a group without a number, or a file whose
// owner to take, needs an overlay's word.
func (j *joiner) packageUser(line sysuser) {
	if known := j.findUser(line.name); known != nil {
		known.comment = cmp.Or(known.comment, line.comment)
		known.home = cmp.Or(known.home, line.home)
		known.shell = cmp.Or(known.shell, line.shell)
		return
	}
	id, groupName, withGroup := strings.Cut(line.id, ":")
	uid, err := strconv.ParseUint(id, 10, 32)
	if err != nil {
		j.problem("user %q of %s: no fixed id; declare one under users: in an overlay",
			line.name, line.file)
		return
	}
	u := user{
		name: line.name, uid: uint32(uid), gid: uint32(uid),
		comment: line.comment, home: line.home, shell: line.shell,
	}
	switch g := j.findGroup(line.name); {
	case withGroup:
		if u.gid, err = j.gid(groupName); err != nil {
			j.problem("user %q of %s: %w", line.name, line.file, err)
		}
	case g != nil:
		u.gid = g.gid
	default:
		j.groups = append(j.groups, group{name: u.name, gid: u.uid})
	}
	j.users = append(j.users, u)
}

func (j *joiner) member(userName, groupName, where string) {
	g := j.findGroup(groupName)
	if g == nil || j.findUser(userName) == nil {
		j.problem("user %q in group %q, of %s: both must be declared", userName, groupName, where)
		return
	}
	if !slices.Contains(g.members, userName) {
		g.members = append(g.members, userName)
	}
}

func (j *joiner) sortAndCheck() {
	slices.SortFunc(j.users, func(a, b user) int { return cmp.Compare(a.uid, b.uid) })
	slices.SortFunc(j.groups, func(a, b group) int { return cmp.Compare(a.gid, b.gid) })
	for i := 1; i < len(j.users); i++ {
		if a, b := j.users[i-1], j.users[i]; a.uid == b.uid {
			j.problem("users %q and %q: both have uid %d", a.name, b.name, a.uid)
		}
	}
	for i := 1; i < len(j.groups); i++ {
		if a, b := j.groups[i-1], j.groups[i]; a.gid == b.gid {
			j.problem("groups %q and %q: both have gid %d", a.name, b.name, a.gid)
		}
	}
	for _, u := range j.users {
		if !slices.ContainsFunc(j.groups, func(g group) bool { return g.gid == u.gid }) {
			j.problem("user %q: no group has its gid %d", u.name, u.gid)
		}
	}
	for i := range j.groups {
		slices.Sort(j.groups[i].members)
	}
}

// files gives the four databases (passwd(5), group(5), shadow(5), gshadow(5)).
// Every password is locked with "*", which still lets a key in; the day of the
// last change is left out, which turns aging off.
func (a *accounts) files() (passwd, group, shadow, gshadow string) {
	var p, g, s, gs strings.Builder
	for _, u := range a.users {
		fmt.Fprintf(&p, "%s:x:%d:%d:%s:%s:%s\n", u.name, u.uid, u.gid, u.comment,
			cmp.Or(u.home, "/"), cmp.Or(u.shell, "/usr/sbin/nologin"))
		fmt.Fprintf(&s, "%s:*:::::::\n", u.name)
	}
	for _, e := range a.groups {
		members := strings.Join(e.members, ",")
		fmt.Fprintf(&g, "%s:x:%d:%s\n", e.name, e.gid, members)
		fmt.Fprintf(&gs, "%s:*::%s\n", e.name, members)
	}
	return p.String(), g.String(), s.String(), gs.String()
}

// sysusers gives the accounts as sysusers.d(5) lines, all ids fixed.
func (a *accounts) sysusers() string {
	var b strings.Builder
	b.WriteString("# The accounts of this image. Ids never change.\n")
	for _, g := range a.groups {
		fmt.Fprintf(&b, "g %s %d\n", g.name, g.gid)
	}
	for _, u := range a.users {
		comment := "-"
		if u.comment != "" {
			comment = `"` + strings.ReplaceAll(u.comment, "%", "%%") + `"`
		}
		fmt.Fprintf(&b, "u %s %d:%d %s %s %s\n", u.name, u.uid, u.gid, comment,
			cmp.Or(u.home, "/"), cmp.Or(u.shell, "/usr/sbin/nologin"))
	}
	for _, g := range a.groups {
		for _, member := range g.members {
			fmt.Fprintf(&b, "m %s %s\n", member, g.name)
		}
	}
	return b.String()
}
