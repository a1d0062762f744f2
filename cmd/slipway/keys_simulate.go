package main

import (
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"slipway/cmd/internal/hint"
	"slipway/cmd/internal/inspect"
	"slipway/cmd/internal/release"
	"slipway/signing/key"
	"slipway/signing/keyset"
)

// simulation says what a released version makes of what a key set signs.
type simulation struct {
	Release string `json:"release"`
	Version string `json:"version"`
	// Update says that the version takes such a payload and starts such a
	// slot; Reason why not.
	Update bool   `json:"update"`
	Reason string `json:"reason,omitempty"`
	// Fallback says that a machine which runs an image with the set's keys may
	// still start the slot of this version.
	Fallback bool `json:"fallback"`
}

// simulate shows which releases below dir could update to what the set signs,
// and fails if one could not.
func simulate(c *cli.Context, set *keyset.Set, dir string, now time.Time) error {
	releases, err := findReleases(dir)
	if err != nil {
		return err
	}
	list := []simulation{}
	stranded := 0
	for _, path := range releases {
		s, err := simulateOne(set, path, now)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if !s.Update {
			stranded++
		}
		list = append(list, *s)
	}
	if c.Bool("json") {
		err = printJSON(c.App.Writer, list)
	} else {
		err = printSimulations(c.App.Writer, list)
	}
	if err == nil && stranded > 0 {
		err = hint.Add(fmt.Errorf("%d of %d releases could not update", stranded, len(list)),
			"let an older key sign too, or bring these machines to a version in between first")
	}
	return err
}

// findReleases lists the release directories below dir, and dir if it is one.
func findReleases(dir string) ([]string, error) {
	var list []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && strings.HasPrefix(d.Name(), ".") && path != dir:
			return fs.SkipDir // not finished
		case d.Name() == release.Manifest && !d.IsDir():
			list = append(list, filepath.Dir(path))
		}
		return nil
	})
	if err == nil && len(list) == 0 {
		err = hint.Add(fmt.Errorf("%s: no release in it", dir), "--simulate out, where slipway build puts releases")
	}
	return list, err
}

func simulateOne(set *keyset.Set, dir string, now time.Time) (*simulation, error) {
	f, size, err := openImage(filepath.Join(dir, release.Slot))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	image, err := inspect.Open(f, size, nil)
	if err != nil {
		return nil, err
	}
	slot, err := image.Active()
	if err != nil {
		return nil, err
	}
	trust, err := slot.Trust()
	if err != nil {
		return nil, err
	}
	s := &simulation{Release: dir, Version: slot.Footer.Version}
	for _, signature := range slot.Signatures {
		if slices.ContainsFunc(set.Trusted(keyset.Image, now), func(k key.Key) bool { return k.ID == signature.KeyID }) {
			s.Fallback = true
		}
	}
	var reasons []string
	if reason := meets(set.Active(keyset.Image, now), trust.Slots); reason != "" {
		reasons = append(reasons, "slots: "+reason)
	}
	if trust.Set == nil {
		reasons = append(reasons, "payloads: it has no key set")
	} else if reason := meets(set.Active(keyset.Payload, now), trust.Set.Trusted(keyset.Payload, time.Time{})); reason != "" {
		reasons = append(reasons, "payloads: "+reason)
	}
	s.Update, s.Reason = len(reasons) == 0, strings.Join(reasons, "; ")
	return s, nil
}

// meets says why none of the keys that sign is among those that are trusted.
func meets(sign []*keyset.Entry, trusted []key.Key) string {
	var want, have []string
	for _, k := range trusted {
		want = append(want, k.ID)
	}
	for _, e := range sign {
		if slices.Contains(want, e.ID) {
			return ""
		}
		have = append(have, e.ID)
	}
	list := func(ids []string) string {
		if len(ids) == 0 {
			return "none"
		}
		return strings.Join(ids, ", ")
	}
	return fmt.Sprintf("trusts %s, signed by %s", list(want), list(have))
}

func printSimulations(out io.Writer, list []simulation) error {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintf(w, "version\trelease\tcan update\tcan fall back to it\twhy not\n")
	yes := map[bool]string{true: "yes", false: "no"}
	for _, s := range list {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", s.Version, s.Release, yes[s.Update], yes[s.Fallback], s.Reason)
	}
	return w.Flush()
}
