package locksmith

import (
	"flag"
	"fmt"
	"strings"
	"text/tabwriter"
)

// usage is the help of a program.
func (e *Env) usage(f *flag.FlagSet) {
	fmt.Fprintf(e.Stderr, "usage: %s [flags]", e.Name)
	if e.Name == "locksmithctl" {
		fmt.Fprint(e.Stderr, " COMMAND [argument]")
	}
	fmt.Fprintf(e.Stderr, "\nflags, or environment variables %s_FLAG, "+
		"or LOCKSMITHD_FLAG in /etc/coreos/update.conf:\n", strings.ToUpper(e.Name))
	f.PrintDefaults()
}

// help shows the commands, or one.
func (c *ctl) help(args []string) int {
	if len(args) == 0 {
		c.overview()
		return 0
	}
	for _, cmd := range commands() {
		if cmd.name == args[0] {
			c.describe(&cmd)
			return 0
		}
	}
	fmt.Fprintln(c.Stderr, "Unrecognized command:", args[0])
	return 1
}

// overview is in the form of CoreOS's.
func (c *ctl) overview() {
	w := tabwriter.NewWriter(c.Stdout, 0, 8, 1, '\t', 0)
	fmt.Fprintf(w, "NAME:\n\t%s - Manage the cluster wide reboot lock.\n\n", c.Name)
	fmt.Fprintf(w, "USAGE: \n\t%s [global options] <command> [command options] [arguments...]\n\n", c.Name)
	fmt.Fprintf(w, "VERSION:\n\t%s\n\nCOMMANDS:\n", c.version())
	for _, cmd := range commands() {
		fmt.Fprintf(w, "\t%s\t%s\n", cmd.name, cmd.summary)
	}
	fmt.Fprintln(w, "\nGLOBAL OPTIONS:")
	c.flags.VisitAll(func(f *flag.Flag) {
		_, text := flag.UnquoteUsage(f)
		fmt.Fprintf(w, "\t--%s=%s\t%s\n", f.Name, f.DefValue, text)
	})
	fmt.Fprintf(w, "\nEach option may be an environment variable LOCKSMITHCTL_OPTION; what neither says is taken\n"+
		"from LOCKSMITHD_OPTION in /etc/coreos/update.conf.\n\n"+
		"Run \"%s help <command>\" for more details on a specific command.\n", c.Name)
	w.Flush()
}

func (c *ctl) describe(cmd *command) {
	fmt.Fprintf(c.Stdout, "NAME:\n\t%s - %s\n\nUSAGE:\n\t%s\n\n", cmd.name, cmd.summary,
		strings.TrimSpace(c.Name+" "+cmd.name+" "+cmd.arguments))
	if cmd.text != "" {
		fmt.Fprintf(c.Stdout, "DESCRIPTION:\n\t%s\n\n", strings.ReplaceAll(cmd.text, "\n", "\n\t"))
	}
	fmt.Fprintf(c.Stdout, "For help on global options run \"%s help\"\n", c.Name)
}
