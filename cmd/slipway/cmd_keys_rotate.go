package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"slipway/cmd/internal/hint"
	"slipway/signing"
	"slipway/signing/keyset"
)

const keysRotateHelp = `With --role it makes a successor for each key of that role and marks the old one
as replaced. From then on both sign, and images trust both. Machines learn of the
new key from the next image they run; when all that matter do, --retire ends the
old one. --simulate RELEASES shows which released versions could still update to
what the set signs now, with --retire what it would sign then; it changes
nothing, and fails if there is one that could not.`

func keysRotateCommand() *cli.Command {
	return &cli.Command{
		Name:        "rotate",
		Usage:       "replace keys, retire old ones, see who could still update",
		Description: keysRotateHelp,
		Flags: append(makeFlags(),
			&cli.StringSliceFlag{Name: "retire", Usage: "the key `ID` signs nothing any more; may be repeated"},
			&cli.StringFlag{Name: "simulate", Usage: "only show which releases below `DIR` could update"},
		),
		Action: runKeysRotate,
	}
}

func runKeysRotate(c *cli.Context) error {
	k, err := openKeys(c, false)
	if err != nil {
		return err
	}
	roles, err := readRoles(c)
	if err != nil {
		return err
	}
	for _, id := range c.StringSlice("retire") {
		if err := k.retire(id); err != nil {
			return err
		}
	}
	if dir := c.String("simulate"); dir != "" {
		if len(roles) > 0 {
			return hint.Add(hint.Usagef("keys rotate: --simulate and --role: nothing is made in a simulation"), "leave --role out")
		}
		return simulate(c, k.next, dir, k.now)
	}
	if len(roles) == 0 && len(c.StringSlice("retire")) == 0 {
		return hint.Add(hint.Usagef("keys rotate: neither --role nor --retire nor --simulate"), "--role image")
	}
	said, err := k.succeed(roles)
	if err != nil {
		return errors.Join(err, k.undo())
	}
	if err := k.save(); err != nil {
		return err
	}
	if err := k.say(); err != nil || c.Bool("json") {
		return err
	}
	for _, line := range said {
		fmt.Fprintln(c.App.Writer, line)
	}
	return nil
}

// retire ends a key, unless nobody would be left in one of its roles.
func (k *keysWork) retire(id string) error {
	e := k.next.Lookup(id)
	if e == nil {
		return hint.Add(fmt.Errorf("key %.40q: not in the key set in %s", id, k.dir.dir), "slipway keys list --keys %s", k.dir.dir)
	}
	if e.Retired {
		return fmt.Errorf("key %s: retired already", id)
	}
	e.Retired = true
	for _, role := range e.Roles {
		if len(k.next.Active(role, k.now)) == 0 {
			return hint.Add(fmt.Errorf("key %s: the only one that signs as %s", id, role), "slipway keys rotate --role %s", role)
		}
	}
	return nil
}

// succeed makes a successor for every key of the roles that has none, and says
// what follows from it.
func (k *keysWork) succeed(roles []keyset.Role) ([]string, error) {
	var old []string
	for i := range k.next.Keys {
		e := &k.next.Keys[i]
		if !e.Retired && e.ReplacedBy == "" && slices.ContainsFunc(roles, e.Has) {
			old = append(old, e.ID)
		}
	}
	if len(roles) > 0 && len(old) == 0 {
		return nil, hint.Add(fmt.Errorf("key set in %s: no key for role %s to replace", k.dir.dir, joinRoles(roles)),
			"slipway keys new --keys %s --role %s", k.dir.dir, roles[0])
	}
	if len(old) > 1 && k.c.String("from") != "" {
		return nil, hint.Usagef("keys rotate: --from names one key, to be replaced are %s", strings.Join(old, ", "))
	}
	var said []string
	for _, id := range old {
		e := k.next.Lookup(id)
		kind := k.c.String("algorithm")
		if kind == "" {
			kind = signing.KindOf(e.Key().Public())
		}
		successor, err := k.add(kind, slices.Clone(e.Roles), e.Development)
		if err != nil {
			return nil, err
		}
		made := successor.ID
		k.next.Lookup(id).ReplacedBy = made // the list may have moved
		said = append(said, fmt.Sprintf("%s key %s is replaced by %s: %s. When all machines that matter run an image that knows it: "+
			"slipway keys rotate --retire %s (first with --simulate RELEASES)", joinRoles(e.Roles), id, made, bothSign(e.Roles), id))
	}
	return said, nil
}

// bothSign says what old and new keys of these roles have to sign.
func bothSign(roles []keyset.Role) string {
	var what []string
	for _, role := range roles {
		switch role {
		case keyset.Root:
			what = append(what, "key sets")
		case keyset.Image:
			what = append(what, "slots")
		case keyset.Payload:
			what = append(what, "payloads and release.json")
		}
	}
	return strings.Join(what, ", ") + " are to be signed by both"
}
