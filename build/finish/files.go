package finish

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"

	"slipway/build/tree"
	"slipway/overlays"
)

// resolveCopies gives each overlay file that is a copy the content of the
// package file it names, while that is still there.
func (r *run) resolveCopies() error {
	var problems []error
	for i := range r.Config.Files {
		f := &r.Config.Files[i]
		if f.Copy == "" {
			continue
		}
		n := r.Tree.Lookup(f.Copy)
		if n == nil || n.Type != tree.File {
			problems = append(problems, fmt.Errorf("overlay %s: copy of /%s to /%s: no such file",
				f.Layer, f.Copy, f.Path))
			continue
		}
		r.copies[f.Path] = n
	}
	return errors.Join(problems...)
}

// remove takes out what the overlays' globs match and Keep does not. A
// directory goes if nothing in it stays.
func (r *run) remove() error {
	remove, err := compile(r.Config.Remove)
	if err != nil {
		return err
	}
	keep, err := compile(r.Config.Keep)
	if err != nil {
		return err
	}
	paths := r.Tree.Paths()
	stays := map[string]bool{".": true}
	for _, p := range slices.Backward(paths) {
		if stays[p] {
			continue
		}
		glob := slices.IndexFunc(remove, func(re *regexp.Regexp) bool { return re.MatchString(p) })
		if glob >= 0 && !matches(keep, p) {
			r.removed[p] = r.Config.Remove[glob]
			continue
		}
		for dir := p; !stays[dir]; dir = path.Dir(dir) {
			stays[dir] = true
		}
	}
	for _, p := range paths {
		if !stays[p] {
			r.Tree.Remove(p) // and what is below, which does not stay either
		}
	}
	return nil
}

func compile(globs []overlays.Glob) ([]*regexp.Regexp, error) {
	var expressions []*regexp.Regexp
	for _, g := range globs {
		re, err := overlays.CompileGlob(g.Pattern)
		if err != nil {
			return nil, fmt.Errorf("overlay %s: %w", g.Layer, err)
		}
		expressions = append(expressions, re)
	}
	return expressions, nil
}

func matches(expressions []*regexp.Regexp, p string) bool {
	return slices.ContainsFunc(expressions, func(re *regexp.Regexp) bool {
		return re.MatchString(p)
	})
}

// TakenError says that an overlay sets a path that a package brings.
type TakenError struct {
	Path   string // without a leading slash
	Layer  string
	Origin string // "package bash"
}

func (e *TakenError) Error() string {
	return fmt.Sprintf("overlay %s sets /%s, which %s brings", e.Layer, e.Path, e.Origin)
}

// Hint is what a user can do about it.
func (e *TakenError) Hint() string {
	return fmt.Sprintf("under files: in overlay %s, give %q `replace: true`", e.Layer, e.Path)
}

// placeFiles sets the overlays' files, all root's until setOwners. A path that
// a package brings is an error unless the overlay says replace; two
// directories are no conflict.
func (r *run) placeFiles() error {
	var problems []error
	for _, f := range r.Config.Files {
		old := r.Tree.Lookup(f.Path)
		origin := "overlay " + f.Layer
		switch {
		case f.Adjust:
			if old == nil {
				problems = append(problems, fmt.Errorf("%s: /%s: no package brings it", origin, f.Path))
			}
			continue
		case old != nil && old.Type == tree.Dir && f.Type == tree.Dir:
		case old != nil && !f.Replace:
			problems = append(problems, &TakenError{f.Path, f.Layer, old.Origin})
			continue
		case old != nil && old.Type == tree.Dir:
			r.Tree.Remove(f.Path)
		}
		n := &tree.Node{Type: f.Type, Mode: f.Mode, Target: f.Target, Blob: f.Blob, Origin: origin}
		if source := r.copies[f.Path]; source != nil {
			n.Blob = source.Blob
			if n.Mode == 0 {
				n.Mode = source.Mode
			}
		}
		if err := r.Tree.Set(f.Path, n); err != nil {
			problems = append(problems, err)
		}
	}
	return errors.Join(problems...)
}

// setOwners gives the overlays' files the owners they name, which had to wait
// for the accounts.
func (r *run) setOwners() error {
	var problems []error
	for _, f := range r.Config.Files {
		n := r.Tree.Lookup(f.Path)
		if f.Adjust {
			// What shares its inode with another path stays as it is there.
			adjusted := *n
			n = &adjusted
			if err := r.Tree.Set(f.Path, n); err != nil {
				return err
			}
			if f.Mode != 0 {
				n.Mode = f.Mode
			}
		}
		if f.Owner != "" {
			uid, err := r.accounts.uid(f.Owner)
			if err != nil {
				problems = append(problems, fmt.Errorf("overlay %s: /%s: %w", f.Layer, f.Path, err))
			}
			n.UID = uid
		}
		if f.Group != "" {
			gid, err := r.accounts.gid(f.Group)
			if err != nil {
				problems = append(problems, fmt.Errorf("overlay %s: /%s: %w", f.Layer, f.Path, err))
			}
			n.GID = gid
		}
	}
	return errors.Join(problems...)
}

// linkAlternatives makes the links that update-alternatives would. The target
// must exist, so that a renamed program is noticed.
func (r *run) linkAlternatives() error {
	var problems []error
	for _, link := range slices.Sorted(maps.Keys(r.Config.Alternatives)) {
		target := r.Config.Alternatives[link]
		if old := r.Tree.Lookup(link); old != nil {
			problems = append(problems, fmt.Errorf("alternative /%s: %s brings it", link, old.Origin))
			continue
		}
		if r.Tree.Lookup(resolve(link, target)) == nil {
			problems = append(problems, fmt.Errorf("alternative /%s: no %s to point to", link, target))
			continue
		}
		r.put(link, &tree.Node{Type: tree.Symlink, Mode: 0o777, Target: target})
	}
	return errors.Join(problems...)
}
