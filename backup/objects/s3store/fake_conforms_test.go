package s3store_test

import (
	"testing"

	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/backup/objects/objectstest"
)

// TestConformance is with a server in memory; TestConformanceOfVersitygw, of build
// tag s3, with a real one.
func TestConformance(t *testing.T) {
	objectstest.Run(t, func(t *testing.T) objects.Store { return newFake(t).open(t) })
}

func TestProcesses(t *testing.T) { objectstest.RunProcesses(t, newFake(t).url(), openLocation) }
