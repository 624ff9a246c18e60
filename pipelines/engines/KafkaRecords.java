package fluoro;

import java.io.ByteArrayOutputStream;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.zip.CRC32;
import org.apache.flink.api.common.operators.ProcessingTimeService.ProcessingTimeCallback;
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
import org.apache.flink.streaming.api.checkpoint.CheckpointedFunction;
import org.apache.flink.streaming.api.functions.ProcessFunction;
import org.apache.flink.streaming.api.operators.AbstractStreamOperator;
import org.apache.flink.streaming.api.operators.BoundedOneInput;
import org.apache.flink.streaming.api.operators.OneInputStreamOperator;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;
import org.apache.flink.streaming.runtime.tasks.ProcessingTimeService;
import org.apache.flink.types.Row;
import org.apache.flink.util.Collector;

/**
 * Kafka records for Python: packed and gathered into batches by key, because a crossing into Python and a write cost more
 * than a record; and stops among the records that go out.
 *
 * <p>An incoming row is (key, batch). Flink partitions it by the key, which is made here so that no Python operator is
 * needed for it; a batch is packed records one behind the other, which pipelines/engines/packed.py reads. An outgoing row is
 * (topic, key, value, timestamp in ms); without a topic it is a stop, and its value is the reason. Nothing is decoded here,
 * so no content of a record can make this fail.
 */
public final class KafkaRecords {
    private static final TypeInformation<byte[]> BYTES = PrimitiveArrayTypeInfo.BYTE_PRIMITIVE_ARRAY_TYPE_INFO;
    private static final TypeInformation<Row> PACKED = Types.ROW(Types.STRING, BYTES);
    // Partition, offset, timestamp in ms, length of the topic, of the key, of the value; then topic, key, value.
    private static final int NUMBERS_BYTES = 4 + 8 + 8 + 2 + 4 + 4;

    private KafkaRecords() {}

    /** Reads and packs records, keyed by their own key when shards is 0, else by the number of their shard. */
    public static KafkaRecordDeserializationSchema<Row> reader(int shards) {
        return new Reader(shards);
    }

    /** Gathers packed records: a batch for each key everyMs after the first record, or at mostRecords or mostBytes. */
    public static OneInputStreamOperator<Row, Row> gatherer(long everyMs, int mostRecords, int mostBytes) {
        return new Gatherer(everyMs, mostRecords, mostBytes);
    }

    /** The type of a row of one packed record, and of a batch. */
    public static TypeInformation<Row> packed() {
        return PACKED;
    }

    /** Writes records to the topic that each names; the producer partitions them by their key. */
    public static KafkaRecordSerializationSchema<Row> writer() {
        return new Writer();
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
            byte[] topic = from.topic().getBytes(StandardCharsets.UTF_8);
            byte[] key = orEmpty(from.key());
            byte[] value = orEmpty(from.value());
            ByteBuffer packed = ByteBuffer.allocate(NUMBERS_BYTES + topic.length + key.length + value.length);
            packed.putInt(from.partition()).putLong(from.offset()).putLong(from.timestamp());
            packed.putShort((short) topic.length).putInt(key.length).putInt(value.length);
            packed.put(topic).put(key).put(value);
            out.collect(Row.of(shards == 0 ? text(key) : Integer.toString(shard(key)), packed.array()));
        }

        private int shard(byte[] key) {
            CRC32 crc = new CRC32();
            crc.update(key);
            return (int) (crc.getValue() % shards);
        }

        @Override
        public TypeInformation<Row> getProducedType() {
            return PACKED;
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
     * In Java, because only here an operator can hand on what it holds before the barrier of a checkpoint. So it has no
     * state: an offset in a checkpoint means that every record before it has been handed on, and handled, before. After a
     * failure the same records come again, perhaps in other batches.
     */
    private static final class Gatherer extends AbstractStreamOperator<Row>
            implements OneInputStreamOperator<Row, Row>, BoundedOneInput, ProcessingTimeCallback {
        private static final long serialVersionUID = 1L;
        private final long everyMs;
        private final int mostRecords;
        private final int mostBytes;
        private transient Map<String, ByteArrayOutputStream> batches;
        private transient int records;
        private transient int bytes;
        private transient boolean isArmed;

        Gatherer(long everyMs, int mostRecords, int mostBytes) {
            this.everyMs = everyMs;
            this.mostRecords = mostRecords;
            this.mostBytes = mostBytes;
        }

        @Override
        public void open() throws Exception {
            super.open();
            batches = new LinkedHashMap<>();
        }

        @Override
        public void processElement(StreamRecord<Row> element) {
            Row row = element.getValue();
            byte[] packed = (byte[]) row.getField(1);
            batches.computeIfAbsent((String) row.getField(0), key -> new ByteArrayOutputStream()).writeBytes(packed);
            records++;
            bytes += packed.length;
            if (records >= mostRecords || bytes >= mostBytes) {
                handOn();
            } else if (!isArmed) {
                isArmed = true;
                ProcessingTimeService time = getProcessingTimeService();
                time.registerTimer(time.getCurrentProcessingTime() + everyMs, this);
            }
        }

        /** A timer from before a full batch hands on the records since then a little early. */
        @Override
        public void onProcessingTime(long timestamp) {
            isArmed = false;
            handOn();
        }

        @Override
        public void prepareSnapshotPreBarrier(long checkpointId) {
            handOn();
        }

        @Override
        public void endInput() {
            handOn();
        }

        private void handOn() {
            batches.forEach((key, batch) -> output.collect(new StreamRecord<>(Row.of(key, batch.toByteArray()))));
            batches.clear();
            records = 0;
            bytes = 0;
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
