package txn_test

import (
	"testing"

	"go.uber.org/goleak"
)

// Every goroutine of a manager ends with it.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
