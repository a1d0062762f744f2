package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"slipway/cmd/internal/hint"
	"slipway/signing"
	"slipway/signing/keyset"
)

const keysHelp = `A key set is a directory with keys.json: public keys, what each may vouch for
(root: key sets, image: slots, payload: payloads and releases), and from when to
when. Root keys sign it. Images carry it, and so learn of keys to come.

Private keys lie beside it, encrypted, in ID.key, or elsewhere: references.json
says where, and may name programs to run, so take a directory of keys only from
people you would take a Makefile from. "slipway build --keys DIR" signs with every key of the set that is
valid today, so that machines of old and new versions both take what it makes.
Without --keys these commands work on $SLIPWAY_KEYS, else on slipway/keys below
the user's configuration directory.`

func keysCommand() *cli.Command {
	return &cli.Command{
		Name:        "keys",
		Usage:       "make, list, rotate and export signing keys",
		Description: keysHelp,
		Subcommands: []*cli.Command{keysNewCommand(), keysListCommand(), keysRotateCommand(), keysExportCommand()},
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return hint.Add(hint.Usagef("keys %q: unknown", c.Args().First()), "slipway keys --help")
			}
			return cli.ShowSubcommandHelp(c)
		},
	}
}

// makeFlags say what new keys are like.
func makeFlags() []cli.Flag {
	return append(openFlags(),
		keysFlag("work on the key set in `DIR`"),
		&cli.StringSliceFlag{Name: "role", Usage: "the key is for `ROLE`: root, image or payload; may be repeated"},
		&cli.StringFlag{Name: "algorithm", Usage: "make keys of `KIND`: " + strings.Join(signing.Kinds(), ", ")},
		&cli.StringFlag{Name: "from", Usage: "take the key that `REF` names instead of making one"},
		&cli.StringFlag{Name: "starts", Usage: "the key signs from `DATE` on (2027-01-31) instead of today"},
		&cli.StringFlag{Name: "valid-for", Usage: "the key signs for `TIME` (90d, 5y) instead of 5y, root keys 10y"},
		jsonFlag(),
	)
}

const keysNewHelp = `In a directory without a key set it makes one, with a key for each role. In one
with a set it adds a key with the roles named. Private keys are encrypted with
the password from --key-password-file, $SLIPWAY_KEY_PASSWORD or the terminal, and
openssl reads them. Development keys lie there in plain text, are marked as such,
and are refused by release builds.`

func keysNewCommand() *cli.Command {
	return &cli.Command{
		Name:        "new",
		Usage:       "make a key set, or add a key to one",
		Description: keysNewHelp,
		Flags:       append(makeFlags(), &cli.BoolFlag{Name: "development", Usage: "make development keys, which are not encrypted"}),
		Action: func(c *cli.Context) error {
			k, err := openKeys(c, true)
			if err != nil {
				return err
			}
			roles, err := readRoles(c)
			if err != nil {
				return err
			}
			plans := [][]keyset.Role{roles}
			switch {
			case len(roles) > 0:
			case k.dir.file != nil:
				return hint.Add(hint.Usagef("keys new: --role missing: there is a key set already"), "--role image")
			case c.String("from") != "":
				return hint.Add(hint.Usagef("keys new: --from names one key; --role says for what"), "--role root --role image --role payload")
			default:
				plans = [][]keyset.Role{{keyset.Root}, {keyset.Image}, {keyset.Payload}}
			}
			for _, roles := range plans {
				if _, err := k.add(c.String("algorithm"), roles, c.Bool("development")); err != nil {
					return errors.Join(err, k.undo())
				}
			}
			if err := k.save(); err != nil {
				return err
			}
			return k.say()
		},
	}
}

func readRoles(c *cli.Context) ([]keyset.Role, error) {
	var roles []keyset.Role
	for _, name := range c.StringSlice("role") {
		role := keyset.Role(name)
		if !slices.Contains(keyset.Roles(), role) {
			return nil, hint.Add(hint.Usagef("keys %s: --role %q: unknown", c.Command.Name, name), "--role root, image or payload")
		}
		if !slices.Contains(roles, role) {
			roles = append(roles, role)
		}
	}
	return roles, nil
}

func keysListCommand() *cli.Command {
	return &cli.Command{
		Name:  "list",
		Usage: "list the keys of a set",
		Flags: []cli.Flag{keysFlag("list the key set in `DIR`"), jsonFlag()},
		Action: func(c *cli.Context) error {
			if err := arguments(c, 0, 0); err != nil {
				return err
			}
			path, err := chosenKeys(c)
			if err != nil {
				return err
			}
			dir := &keyDir{dir: path}
			if err := dir.read(); err != nil {
				return err
			}
			now := time.Now()
			doc := describeKeys(dir, now)
			if c.Bool("json") {
				return printJSON(c.App.Writer, doc)
			}
			return doc.print(c.App.Writer)
		},
	}
}

// keysDoc is the answer of keys list.
type keysDoc struct {
	Directory string   `json:"directory"`
	Version   int      `json:"version"`
	Problem   string   `json:"problem,omitempty"` // with the signature over the set
	Keys      []keyDoc `json:"keys"`
}

type keyDoc struct {
	keyset.Entry
	Kind    string `json:"kind"`
	State   string `json:"state"`
	Private string `json:"private"` // reference of the private half, "" if unknown
}

func describeKeys(dir *keyDir, now time.Time) *keysDoc {
	doc := &keysDoc{Directory: dir.dir, Version: dir.file.Set.Version, Keys: []keyDoc{}}
	if err := dir.file.VerifySelf(now); err != nil {
		doc.Problem = err.Error()
	}
	for i := range dir.file.Set.Keys {
		e := &dir.file.Set.Keys[i]
		state := "signs"
		if err := e.Check(now); err != nil {
			state = strings.TrimPrefix(err.Error(), "key "+e.ID+": ")
		} else if e.ReplacedBy != "" {
			state = "signs, replaced by " + e.ReplacedBy
		}
		if e.Development {
			state += ", development"
		}
		doc.Keys = append(doc.Keys, keyDoc{*e, signing.KindOf(e.Key().Public()), state, dir.ref(e.ID)})
	}
	return doc
}

func (d *keysDoc) print(out io.Writer) error {
	fmt.Fprintf(out, "%s: version %d\n", filepath.Join(d.Directory, keyset.FileName), d.Version)
	if d.Problem != "" {
		fmt.Fprintf(out, "problem: %s\n", d.Problem)
	}
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintf(w, "key\tkind\troles\tfrom\tuntil\tstate\tprivate half\n")
	for i := range d.Keys {
		k := &d.Keys[i]
		private := k.Private
		if private == "" {
			private = "-"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", k.ID, k.Kind, joinRoles(k.Roles), day(k.NotBefore), day(k.NotAfter), k.State, private)
	}
	return w.Flush()
}

func joinRoles(roles []keyset.Role) string {
	list := make([]string, len(roles))
	for i, r := range roles {
		list[i] = string(r)
	}
	return strings.Join(list, ",")
}

func day(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return t.UTC().Format(time.DateOnly)
}
