package payload

// Stage is how far Apply had come.
type Stage int

// The stages of Apply.
const (
	AtMetadata   Stage = iota // nothing was written
	AtOperations              // the target is written in part
	AtSignature               // all is written, and nobody vouches for it
	AtTarget                  // what the target holds is not what was signed
)

// ApplyError says at which stage Apply ended. Its text is that of Err.
type ApplyError struct {
	Stage Stage
	Err   error
}

// Error is the text of Err.
func (e *ApplyError) Error() string { return e.Err.Error() }

// Unwrap gives Err.
func (e *ApplyError) Unwrap() error { return e.Err }
