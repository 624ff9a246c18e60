// In the package of Flink's own reporter, whose registry no other package sees.
package org.apache.flink.metrics.prometheus;

import io.prometheus.client.exporter.HTTPServer;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.InetSocketAddress;
import java.util.Iterator;
import java.util.Properties;
import org.apache.flink.metrics.MetricConfig;
import org.apache.flink.metrics.reporter.MetricReporterFactory;
import org.apache.flink.util.PortRange;

/**
 * Makes Flink's Prometheus reporter listen at one address of the machine.
 *
 * <p>Flink's own factory makes it listen at every address, and has no option for another. The options of this one are
 * `host`, by default 127.0.0.1, and Flink's `port`: a port, or a range of which the first free one is taken.
 */
public class PrometheusAtHostFactory implements MetricReporterFactory {
    @Override
    public PrometheusAtHost createMetricReporter(Properties properties) {
        MetricConfig options = (MetricConfig) properties;
        PortRange ports = new PortRange(options.getString("port", "9249"));
        return new PrometheusAtHost(options.getString("host", "127.0.0.1"), ports.getPortsIterator());
    }
}

/** Flink's reporter with a server of its own. */
class PrometheusAtHost extends AbstractPrometheusReporter {
    private final HTTPServer server;

    PrometheusAtHost(String host, Iterator<Integer> ports) {
        server = listening(host, ports);
    }

    private HTTPServer listening(String host, Iterator<Integer> ports) {
        try {
            return new HTTPServer(new InetSocketAddress(host, ports.next()), registry);
        } catch (IOException error) {
            if (ports.hasNext()) {
                return listening(host, ports);
            }
            throw new UncheckedIOException(error);
        }
    }

    @Override
    public void close() {
        server.stop();
        super.close();
    }
}
