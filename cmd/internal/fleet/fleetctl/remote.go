package fleetctl

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"slipway/cmd/internal/fleet/api"
	"slipway/cmd/internal/fleet/unit"
)

// sshOptions are the arguments of ssh that all uses have.
func (s *session) sshOptions() []string {
	argv := []string{"ssh", "-o", "ConnectTimeout=" + strconv.Itoa(max(1, int(s.sshTimeout))), "-l", s.sshUser}
	if !s.strictHostKeys {
		return append(argv, "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR")
	}
	return append(argv, "-o", "UserKnownHostsFile="+s.path(s.knownHosts))
}

// hostAndPort are the arguments of ssh for an address that may have a port.
func hostAndPort(address string, port int) []string {
	if host, p, err := net.SplitHostPort(address); err == nil {
		return []string{"-p", p, "--", host}
	}
	if port != 0 && port != 22 {
		return []string{"-p", strconv.Itoa(port), "--", address}
	}
	return []string{"--", address}
}

// sshCommand is how ssh is called for a command on an address, none for a
// shell.
func (s *session) sshCommand(address string, command ...string) []string {
	argv := s.sshOptions()
	if s.tunnel != "" {
		argv = append(argv, "-J", s.sshUser+"@"+s.tunnel)
	}
	if s.forwardAgent {
		argv = append(argv, "-A")
	}
	return append(append(argv, hostAndPort(address, s.sshPort)...), command...)
}

// tunnelCommand is how ssh is called for a connection through the tunnel: to a
// socket by fleetctl there, else to an address.
func (s *session) tunnelCommand(socket, address string) []string {
	argv := s.sshOptions()
	if socket != "" {
		return append(append(argv, hostAndPort(s.tunnel, 0)...), "fleetctl", "fd-forward", quote(socket))
	}
	return append(append(argv, "-W", address), hostAndPort(s.tunnel, 0)...)
}

// quote makes one word of a shell's command line of a string.
func quote(word string) string {
	safe := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("@%_+=:,./-", r)
	}
	if word != "" && strings.IndexFunc(word, func(r rune) bool { return !safe(r) }) < 0 {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// onMachine runs a command on a machine: here if it is this one, else by ssh.
func (s *session) onMachine(id string, command ...string) int {
	if id != "" && id == s.MachineID {
		code, err := s.Run(s.ctx, command)
		if err != nil {
			s.stderr("Error running local command: %v", err)
			return exitFailed
		}
		return code
	}
	m := s.lookup(id)
	if m == nil || m.PrimaryIP == "" {
		s.stderr("Error getting machine IP: machine %q is not present or has none", id)
		return exitFailed
	}
	words := make([]string, len(command))
	for i, word := range command {
		words[i] = quote(word)
	}
	code, err := s.Run(s.ctx, s.sshCommand(m.PrimaryIP, words...))
	if err != nil {
		s.stderr("Unable to SSH to remote host: %v", err)
		return exitFailed
	}
	return code
}

// everywhere runs systemctl for a global unit on one machine after the other.
func (s *session) everywhere(u *api.Unit, verb string) int {
	ctx, cancel := s.request()
	defer cancel()
	states, err := s.client.States(ctx)
	if err != nil {
		s.stderr("Error retrieving machine state for global units: %v", err)
		return exitFailed
	}
	for _, state := range states {
		if state.Name != u.Name {
			continue
		}
		if code := s.onMachine(state.MachineID, systemctl(verb, u.Name)...); code != 0 {
			s.stderr("Error running systemctl %s. machine id=%s, unit name=%s", verb, state.MachineID, u.Name)
			return code
		}
	}
	return exitDone
}

// systemctl is the command for a verb. Reading needs no rights, the rest does.
func systemctl(verb, name string) []string {
	if verb == "status" {
		return []string{"systemctl", "status", "-l", name}
	}
	return []string{"sudo", "systemctl", verb, name}
}

func runStatus(s *session) int {
	for i, arg := range s.args {
		name := unitName(arg)
		u, err := s.unit(name)
		switch {
		case err != nil:
			s.stderr("Error retrieving unit: %v", err)
			return exitFailed
		case u == nil:
			s.stderr("Unit %s does not exist.", name)
			return exitFailed
		case !u.Global() && u.CurrentState == string(unit.Inactive):
			s.stderr("Unit %s does not appear to be loaded.", name)
			return exitFailed
		}
		if i > 0 { // as systemctl does between two units
			s.stdout("")
		}
		code := exitDone
		if u.Global() {
			code = s.everywhere(u, "status")
		} else {
			code = s.onMachine(u.MachineID, systemctl("status", name)...)
		}
		if code != exitDone {
			return code
		}
	}
	return exitDone
}

func runJournal(s *session) int {
	if len(s.args) != 1 {
		s.stderr("One unit file must be provided.")
		return exitFailed
	}
	name := unitName(s.args[0])
	u, err := s.unit(name)
	switch {
	case err != nil:
		s.stderr("Error retrieving unit %s: %v", name, err)
		return exitFailed
	case u == nil:
		s.stderr("Unit %s does not exist.", name)
		return exitFailed
	case u.Global():
		s.stderr("Unable to retrieve journal of global unit %s.", name)
		return exitFailed
	case u.CurrentState == string(unit.Inactive):
		s.stderr("Unit %s does not appear to be running.", name)
		return exitFailed
	}
	command := []string{"journalctl", "--unit", name, "--no-pager", "-n", strconv.Itoa(s.lines), "--output", s.output}
	if s.sudo {
		command = append([]string{"sudo"}, command...)
	}
	if s.follow {
		command = append(command, "-f")
	}
	return s.onMachine(u.MachineID, command...)
}

func runSSH(s *session) int {
	address, command, err := s.address()
	if err != nil {
		s.stderr("Unable to proceed: %v", err)
		return exitFailed
	}
	if address == "" {
		s.stderr("Could not determine address of machine.")
		return exitFailed
	}
	if len(command) > 0 && command[0] == "--" {
		command = command[1:]
	}
	code, err := s.Run(s.ctx, s.sshCommand(address, command...))
	if err != nil {
		s.stderr("Failed building SSH client: %v", err)
		return exitFailed
	}
	return code
}

// address finds out what to connect to; the rest of the arguments is a command.
func (s *session) address() (address string, command []string, err error) {
	switch {
	case s.onUnit != "" && s.machine != "":
		return "", nil, errors.New("both machine and unit flags provided, please specify only one")
	case s.machine != "":
		address, err = s.addressOfMachine(s.machine)
		return address, s.args, err
	case s.onUnit != "":
		address, err = s.addressOfUnit(s.onUnit)
		return address, s.args, err
	case len(s.args) == 0:
		return "", nil, errors.New("one machine or unit must be provided")
	}
	what := s.args[0]
	machine, machineErr := s.addressOfMachine(what)
	onUnit, unitErr := s.addressOfUnit(what)
	switch {
	case machineErr == nil && unitErr == nil:
		return "", nil, fmt.Errorf("ambiguous argument, both machine and unit found for `%s`.\n"+
			"Please use flag `--machine` or `--unit` to refine the search", what)
	case machineErr == nil:
		return machine, s.args[1:], nil
	case unitErr == nil:
		return onUnit, s.args[1:], nil
	}
	return "", nil, errors.New("could not find matching unit or machine")
}

// addressOfMachine finds a machine by the beginning of its id.
func (s *session) addressOfMachine(prefix string) (string, error) {
	s.lookup("")
	var found *api.Machine
	for id, m := range s.machines {
		if !strings.HasPrefix(id, prefix) {
			continue
		}
		if found != nil {
			return "", errors.New("found more than one machine")
		}
		found = m
	}
	if found == nil {
		return "", errors.New("machine does not exist")
	}
	return found.PrimaryIP, nil
}

func (s *session) addressOfUnit(name string) (string, error) {
	u, err := s.unit(unitName(name))
	switch {
	case err != nil:
		return "", err
	case u == nil:
		return "", errors.New("unit does not exist")
	case u.Global():
		return "", errors.New("global units unsupported")
	}
	if m := s.lookup(u.MachineID); m != nil {
		return m.PrimaryIP, nil
	}
	return "", nil
}
