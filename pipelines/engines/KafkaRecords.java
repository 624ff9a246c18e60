package fluoro;

import java.nio.charset.StandardCharsets;
import java.util.zip.CRC32;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.PrimitiveArrayTypeInfo;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchema;
import org.apache.flink.connector.kafka.source.reader.deserializer.KafkaRecordDeserializationSchema;
import org.apache.flink.kafka.shaded.org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.flink.kafka.shaded.org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.flink.runtime.execution.SuppressRestartsException;
import org.apache.flink.runtime.state.FunctionInitializationContext;
import org.apache.flink.runtime.state.FunctionSnapshotContext;
import org.apache.flink.streaming.api.TimerService;
import org.apache.flink.streaming.api.checkpoint.CheckpointedFunction;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.streaming.api.functions.ProcessFunction;
import org.apache.flink.types.Row;
import org.apache.flink.util.Collector;

/**
 * Complete Kafka records as rows, because PyFlink's own schemas pass only the value to Python; and among them ticks and
 * stops.
 *
 * <p>An incoming row is (key, record). Flink partitions it by the key, which is made here so that no Python operator is
 * needed for it; the record is (topic, partition, offset, timestamp in ms, key, value). An outgoing row is (topic, key,
 * value, timestamp in ms); without a topic it is a stop, and its value is the reason. Nothing is decoded here, so no content of a record can make this fail.
 */
public final class KafkaRecords {
    private static final TypeInformation<byte[]> BYTES = PrimitiveArrayTypeInfo.BYTE_PRIMITIVE_ARRAY_TYPE_INFO;
    private static final TypeInformation<Row> RECORD =
            Types.ROW(Types.STRING, Types.INT, Types.LONG, Types.LONG, BYTES, BYTES);

    private KafkaRecords() {}

    /** Reads records, keyed by their own key when shards is 0, else by the number of their shard. */
    public static KafkaRecordDeserializationSchema<Row> reader(int shards) {
        return new Reader(shards);
    }

    /** Writes records to the topic that each names; the producer partitions them by their key. */
    public static KafkaRecordSerializationSchema<Row> writer() {
        return new Writer();
    }

    /** Passes records on, and adds a tick (an empty record) everyMs after the first record of a key or after a tick. */
    public static KeyedProcessFunction<Row, Row, Row> ticker(long everyMs) {
        return new Ticker(everyMs);
    }

    /** Passes rows on, and fails the job for good at the first checkpoint after a stop, with the stop's reason. */
    public static ProcessFunction<Row, Row> stopper() {
        return new Stopper();
    }

    /** The failure of a job that must not be restarted; its message is the value of the stop's row. */
    public static final class JobStopped extends Exception {
        private static final long serialVersionUID = 1L;

        JobStopped(String reason) {
            super(reason);
        }
    }

    private static final class Reader implements KafkaRecordDeserializationSchema<Row> {
        private static final long serialVersionUID = 1L;
        private final int shards;

        Reader(int shards) {
            this.shards = shards;
        }

        @Override
        public void deserialize(ConsumerRecord<byte[], byte[]> from, Collector<Row> out) {
            byte[] key = orEmpty(from.key());
            byte[] value = orEmpty(from.value());
            Row record = Row.of(from.topic(), from.partition(), from.offset(), from.timestamp(), key, value);
            out.collect(Row.of(shards == 0 ? text(key) : Integer.toString(shard(key)), record));
        }

        private int shard(byte[] key) {
            CRC32 crc = new CRC32();
            crc.update(key);
            return (int) (crc.getValue() % shards);
        }

        @Override
        public TypeInformation<Row> getProducedType() {
            return Types.ROW(Types.STRING, RECORD);
        }
    }

    private static final class Writer implements KafkaRecordSerializationSchema<Row> {
        private static final long serialVersionUID = 1L;

        @Override
        public ProducerRecord<byte[], byte[]> serialize(Row row, KafkaSinkContext context, Long timestamp) {
            String topic = (String) row.getField(0);
            byte[] key = (byte[]) row.getField(1);
            byte[] value = (byte[]) row.getField(2);
            return new ProducerRecord<>(topic, null, (Long) row.getField(3), key, value);
        }
    }

    /**
     * In Java, because in process mode a timer that Python sets reaches Java only at the end of its bundle. When a
     * checkpoint ends the bundle, that is after the snapshot: a key that is restored from it has state but no timer,
     * and would wait forever. The timers of this operator are in its snapshots.
     */
    private static final class Ticker extends KeyedProcessFunction<Row, Row, Row> {
        private static final long serialVersionUID = 1L;
        private final long everyMs;
        private transient ValueState<Boolean> armed;

        Ticker(long everyMs) {
            this.everyMs = everyMs;
        }

        @Override
        public void open(OpenContext context) {
            armed = getRuntimeContext().getState(new ValueStateDescriptor<>("armed", Types.BOOLEAN));
        }

        @Override
        public void processElement(Row row, Context context, Collector<Row> out) throws Exception {
            out.collect(row);
            if (armed.value() == null) {
                armed.update(true);
                TimerService timers = context.timerService();
                timers.registerProcessingTimeTimer(timers.currentProcessingTime() + everyMs);
                // Fires at the end of bounded input, with the last watermark; processing-time timers do not.
                timers.registerEventTimeTimer(Long.MAX_VALUE);
            }
        }

        @Override
        public void onTimer(long timestamp, OnTimerContext context, Collector<Row> out) {
            armed.clear();
            Row tick = Row.of("", 0, 0L, 0L, new byte[0], new byte[0]);
            out.collect(Row.of(context.getCurrentKey().getField(0), tick));
        }
    }

    /**
     * In Java, because Flink restarts a job after any error of Python. It does not fail at once: the rows before the stop
     * may still be in the producer's buffer, which is dropped with the task. Before a checkpoint the sink waits until the
     * broker has acknowledged them, and only then is the state of this operator asked for. That checkpoint fails, so the
     * job can only go on from before the stop, and its records come again.
     */
    private static final class Stopper extends ProcessFunction<Row, Row> implements CheckpointedFunction {
        private static final long serialVersionUID = 1L;
        private transient String reason;

        @Override
        public void processElement(Row row, Context context, Collector<Row> out) {
            String topic = (String) row.getField(0);
            if (!topic.isEmpty()) {
                out.collect(row);
            } else if (reason == null) {
                reason = new String((byte[]) row.getField(2), StandardCharsets.UTF_8);
            }
        }

        @Override
        public void initializeState(FunctionInitializationContext context) {}

        @Override
        public void snapshotState(FunctionSnapshotContext context) {
            if (reason != null) {
                throw new SuppressRestartsException(new JobStopped(reason));
            }
        }
    }

    /** Returns a key as text; Latin-1 decodes any bytes, so a foreign record's key cannot stop the job. */
    private static String text(byte[] key) {
        return new String(key, StandardCharsets.ISO_8859_1);
    }

    private static byte[] orEmpty(byte[] bytes) {
        return bytes == null ? new byte[0] : bytes;
    }
}
