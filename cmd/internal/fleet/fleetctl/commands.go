package fleetctl

import (
	"flag"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"slipway/cmd/internal/fleet/api"
)

// commands are the commands in the order they are listed.
func commands() []*command {
	return []*command{
		{
			name: "cat", args: "UNIT", run: runCat,
			summary: "Output the contents of a submitted unit",
			text: `Outputs the unit file that is currently loaded in the cluster. Useful to verify
the correct version of a unit is running.`,
		}, {
			name: "destroy", args: "[--no-block|--block-attempts=N] UNIT...", flags: blockFlags, run: runDestroy,
			summary: "Destroy one or more units in the cluster",
			text: `Completely remove one or more running or submitted units from the cluster.

Destroyed units are impossible to start unless re-submitted.`,
		}, {
			name: "fd-forward", args: "SOCKET", run: runForward,
			summary: "Proxy stdin and stdout to a unix domain socket",
			text: `fleetctl utilizes fd-forward when --tunnel is used and --endpoint is a unix socket.
This command is not intended to be called by users directly.`,
		}, {
			name: "help", args: "[COMMAND]", run: runHelp,
			summary: "Show a list of commands or help for one command",
		}, {
			name: "journal", args: "[--lines=N] [--ssh-port=N] [-f|--follow] [--output=STRING] UNIT",
			flags: journalFlags, run: runJournal,
			summary: "Print the journal of a unit in the cluster to stdout",
			text: `Outputs the journal of a unit by connecting to the machine that the unit occupies.

This command does not work with global units.`,
		}, {
			name: "list-machines", args: listArgs, flags: listFlags("machine,ip,metadata", "machine,ip,metadata"),
			run:     runListMachines,
			summary: "Enumerate the current hosts in the cluster",
			text: `Lists all active machines within the cluster. Previously active machines will
not appear in this list.`,
		}, {
			name: "list-unit-files", args: listArgs,
			flags:   listFlags("unit,hash,dstate,state,target", "desc,dstate,global,hash,state,target,tmachine,unit"),
			run:     runListUnitFiles,
			summary: "List the units that exist in the cluster.",
			text: `Lists all unit files that exist in the cluster (whether or not they are loaded
onto a machine).`,
		}, {
			name: "list-units", args: listArgs,
			flags:   listFlags("unit,machine,active,sub", "active,hash,load,machine,sub,unit"),
			run:     runListUnits,
			summary: "List the current state of units in the cluster",
			text:    "Lists the state of all units in the cluster loaded onto a machine.",
		}, {
			name: "load", args: "[--no-block|--block-attempts=N] [--replace] UNIT...",
			flags: createAndBlockFlags, run: runLoad,
			summary: "Schedule one or more units in the cluster, first submitting them if necessary.",
			text: `Load one or many units in the cluster into systemd, but do not start.

Load operations on global units are always non-blocking.`,
		}, {
			name: "restart", args: "[--block-attempts=N] UNIT...", flags: restartFlags, run: runRestart,
			summary: "Instruct systemd to rolling restart one or more units in the cluster.",
			text: `Restarts one or more units in the cluster. If they are stopped it starts them.
Global units are restarted on one machine after the other, over SSH.`,
		}, {
			name: "ssh", args: "[-A|--forward-agent] [--ssh-port=N] [--machine|--unit] {MACHINE|UNIT} [COMMAND]",
			flags: sshFlags, run: runSSH, trailing: true,
			summary: "Open interactive shell on a machine in the cluster",
			text: `Open an interactive shell on a specific machine in the cluster or on the machine
where the specified unit is located.

fleetctl tries to detect whether your first argument is a machine or a unit.
To skip this check use the --machine or --unit flags.

This command does not work with global units.`,
		}, {
			name: "start", args: "[--no-block|--block-attempts=N] [--replace] UNIT...",
			flags: createAndBlockFlags, run: runStart,
			summary: "Instruct systemd to start one or more units in the cluster, first submitting and loading if necessary.",
			text: `Start one or many units on the cluster.

Start operations on global units are always non-blocking.`,
		}, {
			name: "status", args: "[--ssh-port=N] UNIT...", flags: sshPortFlag, run: runStatus,
			summary: "Output the status of one or more units in the cluster",
			text: `Output the status of one or more units currently running in the cluster, as
systemctl shows it on their machines.`,
		}, {
			name: "stop", args: "[--no-block|--block-attempts=N] UNIT...", flags: blockFlags, run: runStop,
			summary: "Instruct systemd to stop one or more units in the cluster.",
			text: `Stop one or more units from running in the cluster, but allow them to be
started again in the future.

Stop operations on global units are always non-blocking.`,
		}, {
			name: "submit", args: "[--replace] UNIT...", flags: createFlags, run: runSubmit,
			summary: "Upload one or more units to the cluster without starting them",
			text: `Upload one or more units to the cluster without starting them. Useful
for validating units before they are started.

This operation is idempotent; if a named unit already exists in the cluster, it
will not be resubmitted.`,
		}, {
			name: "unload", args: "[--no-block|--block-attempts=N] UNIT...", flags: blockFlags, run: runUnload,
			summary: "Unschedule one or more units in the cluster.",
		}, {
			name: "verify", args: "UNIT", run: runVerify,
			summary: "DEPRECATED - No longer works",
		}, {
			name: "version", run: runVersion,
			summary: "Print the version and exit",
		},
	}
}

const listArgs = "[-l|--full] [--no-legend] [--fields]"

func runVersion(s *session) int {
	s.stdout("fleetctl version %s", api.Version)
	return exitDone
}

func runVerify(s *session) int { return s.refuseSign() }

func (s *session) refuseSign() int {
	s.stderr("WARNING: The signed/verified units feature is DEPRECATED and cannot be used.")
	return exitUsage
}

func runHelp(s *session) int {
	if len(s.args) == 0 {
		s.help(nil)
		return exitDone
	}
	c, err := find(s.args[0])
	if err != nil {
		return s.usageError(err)
	}
	s.help(c)
	return exitDone
}

// help prints how to use a command, nil for all of the program.
func (s *session) help(c *command) {
	w := tabwriter.NewWriter(s.Stdout, 0, 8, 1, '\t', 0)
	defer w.Flush()
	defaults := (&session{Env: s.Env}).globalFlags()
	if c == nil {
		fmt.Fprintf(w, "NAME:\n\tfleetctl - fleetctl is a command-line interface to fleet, the cluster-wide init system.\n"+
			"\nUSAGE:\n\tfleetctl [global options] COMMAND [options] [arguments]\n\nVERSION:\n\t%s\n\nCOMMANDS:\n", api.Version)
		for _, c := range commands() {
			fmt.Fprintf(w, "\t%s\t%s\n", c.name, c.summary)
		}
	} else {
		fmt.Fprintf(w, "NAME:\n\t%s - %s\n\nUSAGE:\n\tfleetctl %s\n",
			c.name, c.summary, strings.TrimSpace(c.name+" "+c.args))
		if c.text != "" {
			fmt.Fprintf(w, "\nDESCRIPTION:\n\t%s\n", strings.ReplaceAll(c.text, "\n", "\n\t"))
		}
		if c.flags != nil {
			own := flag.NewFlagSet(c.name, flag.ContinueOnError)
			c.flags(own, &options{})
			printFlags(w, "OPTIONS", own)
		}
	}
	printFlags(w, "GLOBAL OPTIONS", defaults)
}

func printFlags(w io.Writer, title string, f *flag.FlagSet) {
	fmt.Fprintf(w, "\n%s:\n", title)
	f.VisitAll(func(fl *flag.Flag) {
		dashes := "--"
		if len(fl.Name) == 1 {
			dashes = "-"
		}
		fmt.Fprintf(w, "\t%s%s=%s\t%s\n", dashes, fl.Name, fl.DefValue, fl.Usage)
	})
}
