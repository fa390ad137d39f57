// A Kafka broker in memory for the tests of deploy/kubernetes: kfake, which speaks the protocol of a real one.
//
//	server PORT HEALTH_PORT TOPIC...
//
// Topics have six partitions. HEALTH_PORT answers 200 by HTTP once the broker is there.
package main

import (
	"log"
	"net/http"
	"os"
	"strconv"

	"github.com/twmb/franz-go/pkg/kfake"
)

func main() {
	port, err := strconv.Atoi(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	if _, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(port), kfake.SeedTopics(6, os.Args[3:]...)); err != nil {
		log.Fatal(err)
	}
	answer := func(http.ResponseWriter, *http.Request) {}
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Args[2], http.HandlerFunc(answer)))
}
