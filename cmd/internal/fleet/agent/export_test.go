package agent

// Plan shows plan to tests.
var Plan = plan
